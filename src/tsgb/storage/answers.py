"""What a reply means to one who asked a remote store, whatever protocol it speaks. None of these leaves `storage`."""

from __future__ import annotations


class Unanswered(Exception):
    """No usable answer, the text says why: whether the request was done is unknown."""


class Refused(Exception):
    """The condition of a write does not hold, or did not when it came."""


class PastEnd(Exception):
    """A range begins where there are no bytes any more."""
