"""Rows as plain values, for whoever has no session."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Facts = TypeVar("Facts", bound="DataclassInstance")


def facts_of(kind: type[Facts], row: object, **told: Any) -> Facts:
    """Return a dataclass whose fields are a row's columns, but for what is `told`."""
    names = [field.name for field in fields(kind) if field.name not in told]
    return kind(**{name: getattr(row, name) for name in names}, **told)
