"""Adapters that a person took out: refused for good, whatever hubs and readers say of them.

Their rows and files stay, for a hub would only list them again.
"""

from sqlalchemy import func
from sqlalchemy.orm import Session

from registry.db.models import Adapter
from registry.errors import AdapterNotFoundError, NotRemovedError

# What `Adapter.refused_by` is of those.
PERSON = "a person"
REFUSAL = "taken out by a person"


def is_removed(adapter: Adapter) -> bool:
    return adapter.refused_by == PERSON


def remove_adapter(session: Session, adapter_id: int) -> str:
    """Take an adapter out of search, at once and for good; return its name.

    Raises:
        AdapterNotFoundError: there is none of this id.
    """
    adapter = _lock(session, adapter_id)
    adapter.state, adapter.refusal, adapter.refused_by = "refused", REFUSAL, PERSON
    adapter.changed_at = func.now()
    return adapter.name


def take_back(session: Session, adapter_id: int) -> str:
    """Let the next refresh publish an adapter again that was taken out; return its name.

    Raises:
        AdapterNotFoundError: there is none of this id.
        NotRemovedError: it was not taken out.
    """
    adapter = _lock(session, adapter_id)
    if not is_removed(adapter):
        raise NotRemovedError(adapter_id)
    adapter.state, adapter.refusal, adapter.refused_by = "listed", None, None
    adapter.changed_at = func.now()
    return adapter.name


def _lock(session: Session, adapter_id: int) -> Adapter:
    adapter = session.get(Adapter, adapter_id, with_for_update=True)
    if adapter is None:
        raise AdapterNotFoundError(adapter_id)
    return adapter
