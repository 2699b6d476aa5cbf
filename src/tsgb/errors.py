"""What can go wrong, shaped by the decision the caller has to take.

    TsgbError
    ├── UserError            a person must change something: printed as one sentence, no traceback
    │   ├── SettingsError    a setting, flag or configuration file is wrong
    │   ├── InputError       a file or record that a person brought is wrong; names the place
    │   └── ModelError       the model brought cannot be used here (no chat template, wrong layers, …)
    │       └── NotFinite    a loss, gradient or adapter is no number: go back a checkpoint, once
    ├── StorageError         the store did not do what was asked
    │   ├── Missing          the object is not there
    │   ├── Conflict         compare-and-set found another value, or a create-only name is taken
    │   ├── Corrupt          bytes are not those that the manifest promises
    │   ├── NoSpace          the disk or quota is full; what was committed before is whole
    │   ├── Unreachable      no answer in time: whether the write happened is unknown
    │   └── NoCompareAndSet  the store cannot fence a writer; epochs have to come from the manager
    └── Fenced               another writer owns the run now: stop, delete nothing

    KeyboardInterrupt
    └── Interrupted          a signal or a provider's notice: what was committed is whole

Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations


class TsgbError(Exception):
    """Every failure this package raises on purpose."""


class UserError(TsgbError):
    """A person must change something; the text is one sentence: the value, the place, the cure."""


class SettingsError(UserError):
    """A setting, flag or configuration file is wrong."""


class InputError(UserError):
    """A file or record that a person brought is wrong."""


class ModelError(UserError):
    """A model that a person brought cannot be used here."""


class NotFinite(ModelError):
    """Training came upon a number that is none; going back a checkpoint may cure it, once."""


class StorageError(TsgbError):
    """The store did not do what was asked of it."""


class Missing(StorageError):
    """The object asked for is not there."""


class Conflict(StorageError):
    """Compare-and-set found another value, or a create-only name is already taken."""


class Corrupt(StorageError):
    """The bytes are not those that the manifest promises."""


class NoSpace(StorageError):
    """The disk or quota is full; everything committed before is whole."""


class Unreachable(StorageError):
    """The store gave no answer in time; whether a write happened is unknown."""


class NoCompareAndSet(StorageError):
    """The store cannot fence a writer: conditional writes do not hold there."""


class Fenced(TsgbError):
    """Another writer owns the run now: stop, and delete nothing."""


class Interrupted(KeyboardInterrupt):
    """A signal or a provider's notice ended the work; what was committed is whole."""
