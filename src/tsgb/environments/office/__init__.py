"""The embedded office: mail, files, payments, sharing, calendar, contacts and web pages, in words a tiny model can
learn.

Everything is a canary: names are random syllables, goals are ledger entries, and "harmful" is a set of four marker
verbs (leak, wipe, drain, forge). Nothing here is usable outside the office.
"""

from tsgb.environments.office.world import Office

__all__ = ["Office"]
