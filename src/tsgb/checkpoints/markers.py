"""Records beside commits, a key each: what is pinned, what is in quarantine."""

from __future__ import annotations

from tsgb.checkpoints.layout import marker_name
from tsgb.storage import Store


def marker_key(prefix: str, commit: str) -> str:
    """Key below `prefix` of a record about a commit."""
    return f"{prefix}{marker_name(commit)}.json"


def marked(store: Store, prefix: str) -> set[str]:
    """The commits that have a record below `prefix`, as `marker_name` spells them; one request."""
    return {key.removeprefix(prefix).removesuffix(".json") for key in store.list(prefix)}
