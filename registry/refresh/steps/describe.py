"""What is said of adapters -> its embedding."""

from collections.abc import Iterator, Sequence

from registry.db import descriptions
from registry.refresh.step import SharedStep, StepOutcome

# Texts encoded at once.
BATCH = 64


class DescribeStep(SharedStep):
    """Embeds name, tags, trigger words and description unless captions and an encoder tell.

    After publishing, which lets the file correct what the hub said. One outcome an adapter.
    """

    name = "describe"
    title = "Encoding descriptions"
    queue = "embed"
    page = job = BATCH

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return descriptions.count_to_describe(session, self.context.text_encoder.name)

    def list_keys(self, size: int) -> Iterator[list[str]]:
        after = 0
        while True:
            with self.context.sessions() as session:
                ids = descriptions.keys_to_describe(
                    session, self.context.text_encoder.name, after, size
                )
            if not ids:
                return
            yield [str(adapter_id) for adapter_id in ids]
            after = ids[-1]

    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        encoder, ids = self.context.text_encoder, [int(key) for key in keys]
        with self.context.sessions() as session:
            described = descriptions.list_to_describe(session, encoder.name, ids)
        if not described:
            return
        embeddings = encoder.encode([one.text for one in described]).tolist()
        with self.context.sessions.begin() as session:
            descriptions.store_descriptions(session, encoder.name, described, embeddings)
        yield from (StepOutcome(one.adapter) for one in described)

    def finish(self) -> Iterator[StepOutcome]:
        with self.context.sessions.begin() as session:
            descriptions.forget_needless(session)
        return iter(())
