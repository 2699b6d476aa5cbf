"""Which bundle is a run's defender: the newest that the gates accepted, as the records of its rounds say."""

from __future__ import annotations

from tsgb.checkpoints.journal import Journal


def accepted_bundle(journal: Journal, rounds: int) -> str | None:
    """The commit of the newest bundle that the gates of the first `rounds` rounds accepted, if there is one."""
    decided = (journal.done(n, "gates") for n in reversed(range(rounds)))
    return next((gate["bundle"] for gate in decided if gate and gate["accepted"]), None)
