"""The one kind of record: frozen, strict about its fields, identical after a trip through JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class Record(BaseModel):
    """Base of everything that is stored or passed between stages."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def first_problem(error: ValidationError) -> str:
    """The first thing that keeps data from being a record: its place, and what is wrong there."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
