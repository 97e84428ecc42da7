"""What the header of a file decides: whether all of it is fetched, and whether it is kept."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import BinaryIO

from crawler.sources.folder import FolderSource
from encoder.base_models.facts import related_base_models
from encoder.base_models.names import UNKNOWN_BASE_MODEL, name_listed
from encoder.errors import LoraFileError
from registry.config import Settings
from registry.db.pending import PendingFetch
from registry.db.records import agreed_base_model
from registry.refresh.sources import filters_of


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why a file is not wanted, "" if it is, and what is to be known of it to say so again."""

    refusal: str = ""
    by: str = ""
    base_model: str = UNKNOWN_BASE_MODEL


class HeaderJudge:
    """Judges files as reading them would, and by what is asked for.

    `by` of a judgement changes with whatever it depends on: the reader, and for an adapter of
    another base model those that are wanted.
    """

    def __init__(self, settings: Settings) -> None:
        from encoder.adapter.lora_file import READER_VERSION

        self._keep = settings.keep_files
        self._wanted = filters_of(settings).base_models
        self._reader = READER_VERSION
        self._wishes = f"{READER_VERSION} for {', '.join(sorted(self._wanted)) or 'everything'}"
        self.fusing: frozenset[str] = frozenset().union(
            *map(related_base_models, settings.base_models)
        )

    @property
    def names(self) -> Collection[str]:
        """What `by` may be now: refusals by anything else are out of date."""
        return self._reader, self._wishes

    @property
    def keeps_all(self) -> bool:
        return self._keep == "all"

    @property
    def keeps_some(self) -> bool:
        return self._keep == "fusable"

    @property
    def asks_for_some(self) -> bool:
        """Whether it is of consequence what a file is for."""
        return bool(self._wanted) or self.keeps_some

    def keeps(self, base_model: str) -> bool:
        """Whether files for a base model stay here once they are read."""
        return self.keeps_all or (self.keeps_some and base_model in self.fusing)

    def judge(self, want: PendingFetch, file: BinaryIO, size: int) -> Judgement:
        """Judge a file of `size` bytes by its start."""
        from encoder.adapter.lora_file import Context, inspect
        from encoder.adapter.safetensors_header import parse_header

        name, beside = want.record.file.name, want.beside
        try:
            header = parse_header(name, file, size)
            verdict = inspect(header, name, context=Context(beside.claims, beside.peft_config))
        except LoraFileError as error:
            # As reading the whole file would say it, without the file's name.
            return Judgement(" ".join(error.cause.split()), self._reader)
        if not verdict.loadable:
            return Judgement(verdict.reasons[0], self._reader)
        listed = name_listed(want.record.base_model_words)
        base_model = agreed_base_model(listed, verdict.base_model, want.claimed, verdict.ruled_out)
        # Somebody's own folder is not filtered.
        is_chosen = want.record.hub == FolderSource.hub
        if self._wanted and base_model not in self._wanted and not is_chosen:
            wanted = " or ".join(sorted(self._wanted))
            reason = (
                f"its file is for {base_model}; --base-model or REGISTRY_CRAWL_BASE_MODELS asks "
                f"for {wanted}"
            )
            return Judgement(reason, self._wishes, base_model)
        return Judgement(base_model=base_model)
