"""Where bytes are kept: stores behind one protocol with create-only writes and compare-and-set."""

from tsgb.storage.base import Store
from tsgb.storage.local import LocalStore
from tsgb.storage.location import open_store

__all__ = ["LocalStore", "Store", "open_store"]
