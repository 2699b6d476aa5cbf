"""The one kind of record: frozen, strict about its fields, identical after a trip through JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of everything that is stored or passed between stages."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
