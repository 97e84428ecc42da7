"""Adapters that have all they need -> ready, so that they are found."""

from collections.abc import Collection, Iterator

from sqlalchemy import Select, select

from registry.db import pending
from registry.db.encoders import active_encoders, base_models_of
from registry.db.models import Adapter, File
from registry.db.records import record_from_json, settle
from registry.refresh.reading import reader_version
from registry.refresh.step import Step, StepOutcome

# Adapters published in one transaction.
PAGE = 64


class PublishStep(Step):
    """Makes adapters ready; one outcome for each of them."""

    name = "publish"
    title = "Publishing"

    def remaining(self) -> int:
        text_encoder = self.context.text_encoder.name
        with self.context.sessions() as session:
            return pending.count_to_publish(session, reader_version(), text_encoder)

    def run(self) -> Iterator[StepOutcome]:
        version, text_encoder, after = reader_version(), self.context.text_encoder.name, 0
        while True:
            with self.context.sessions.begin() as session:
                page = pending.list_to_publish(session, version, text_encoder, after, PAGE)
                ids = {adapter.adapter_id for adapter in page}
                for encoder in active_encoders(session):
                    names = base_models_of(session, encoder)
                    ids -= pending.waiting_for_embedding(session, encoder, names, ids)
                for adapter, file in session.execute(_with_files(ids)):
                    _publish(adapter, file)
            if not page:
                return
            yield from (StepOutcome(row.adapter) for row in page if row.adapter_id in ids)
            after = page[-1].adapter_id


def _with_files(ids: Collection[int]) -> Select[Adapter, File]:
    return (
        select(Adapter, File)
        .where(
            Adapter.id.in_(ids),
            Adapter.file_sha256 == File.sha256,
            # A person may have taken it out since.
            Adapter.state == "listed",
        )
        .order_by(Adapter.id)
        .with_for_update(of=Adapter, key_share=True)
    )


def _publish(adapter: Adapter, file: File) -> None:
    """Let what the file says correct what the hub said, and show the adapter."""
    record = record_from_json(adapter.record)
    for column, value in settle(record, file, adapter.claimed_base_model).items():
        setattr(adapter, column, value)
    adapter.state, adapter.refusal = "ready", None
