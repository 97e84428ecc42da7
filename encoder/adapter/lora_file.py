"""safetensors of an unknown author -> LoraWeights with a verdict, or a typed refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.counted import counted
from crawler.peft_config import read_config_beside
from encoder.adapter.convert import Outcome
from encoder.adapter.first_format import name_first_format
from encoder.adapter.layers import Layer, to_arithmetic
from encoder.adapter.lora_metadata import claimed_base_models, find_trainer, trigger_words
from encoder.adapter.placing import Placed, Said, place_header, place_tensors
from encoder.adapter.safetensors_header import Header, read_header
from encoder.adapter.spectrum import Watcher, is_evidently_sound, measure_layers
from encoder.adapter.verdict import FileFacts, Verdict, judge
from encoder.base_models.families import FAMILIES, Family
from encoder.base_models.matching import Claim
from encoder.errors import BadWeightsError, UnsupportedLoraError
from encoder.late_torch import Tensor

if TYPE_CHECKING:
    from encoder.adapter.tensor_file import TensorFile

# Change this with what is read or refused: files are then read again, refused ones too.
READER_VERSION = "reader-13"

# Longer metadata values (tag counts, thumbnails) are read but not kept.
MAX_METADATA_CHARACTERS = 10_000
# Programs whose way of writing is nobody else's.
TRAINERS = {
    "onetrainer": "OneTrainer", "lycoris": "LyCORIS", "xlabs": "XLabs",
    "diffsynth": "DiffSynth-Studio", "cloneofsimo": "cloneofsimo/lora",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """An adapter read; layers are named as in diffusers, relative to the transformer or unet."""

    layers: dict[str, Layer]
    base_model: str
    trigger_words: tuple[str, ...]
    trainer: str | None
    metadata: dict[str, str]
    verdict: Verdict
    # Changes of biases and of norms' weights, by parameter name.
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    file: "TensorFile | None" = None
    # Where PEFT's config stands that gives the layers their scales; "" where tensors give any.
    config: str = ""

    def done_with(self, layer: Layer) -> None:
        """Let the memory of what was read of a layer be given back; whoever goes through layers
        once calls it after each, and needs no more memory for a larger file."""
        if self.file is not None:
            self.file.used(layer.tensors())

    def release(self) -> None:
        """Give the memory of all that was read of the file back."""
        if self.file is not None:
            self.file.release()


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a file beside the file itself: what people and hubs say of it, and PEFT's
    adapter_config.json, which is looked for beside the file where it is not given."""

    claims: tuple[Claim, ...] = ()
    peft_config: str | None = None  # as it is written; "" for none

    def said(self, path: Path | None, header: Header, families: Sequence[Family]) -> Said:
        """Return all that is said of a file: here, in its header and beside it."""
        claims = (*self.claims, *claimed_base_models(header.metadata))
        config, trouble = self.peft_config, ""
        try:
            if config is None:
                config = read_config_beside(path) if path else ""
        except ValueError as error:
            trouble = str(error)
        return Said(tuple(families), claims, config or "", trouble)


NOTHING_BESIDE = Context()


@dataclass(frozen=True, slots=True)
class OpenedLora:
    """An adapter whose layers are named and placed, and whose weights are not read yet."""

    path: Path
    header: Header
    file: "TensorFile"
    outcome: Outcome
    facts: FileFacts

    @property
    def base_model(self) -> str:
        return self.outcome.base_model

    def read(self, *watchers: Watcher) -> LoraWeights:
        """Read every layer once for the verdict; `watchers` are shown those that are sound.

        Raises:
            LoraFileError: as `read`.
        """
        verdict = self.judge(*watchers)
        if verdict.damaged_layers:
            layer, count = verdict.damaged_layers[0], len(verdict.damaged_layers)
            more = f", and {counted(count - 1, 'layer')} more" if count > 1 else ""
            raise BadWeightsError(self.path, f"layer {layer} holds NaN or infinity{more}")
        if not verdict.loadable:
            # One cause: the others follow from it.
            raise UnsupportedLoraError(self.path, verdict.reasons[0])
        return self._weights(verdict)

    def read_quickly(self) -> LoraWeights:
        """Return what `read` does, without a spectrum and zero layers in the verdict.

        For who runs an adapter and wants no time lost. The same files are refused.
        """
        verdict = judge(self.outcome, self.facts)
        layers = self.outcome.conversion.layers
        if verdict.fusable and is_evidently_sound(layers, self.file.norm()):
            return self._weights(verdict)
        return self.read()

    def _weights(self, verdict: Verdict) -> LoraWeights:
        metadata = self.header.metadata
        return LoraWeights(
            layers=self.outcome.conversion.layers,
            base_model=verdict.base_model,
            trigger_words=trigger_words(metadata),
            trainer=verdict.trainer,
            metadata={k: v for k, v in metadata.items() if len(v) <= MAX_METADATA_CHARACTERS},
            verdict=verdict,
            vectors=self.outcome.conversion.vectors,
            file=self.file,
            config=self.facts.config,
        )

    def judge(self, *watchers: Watcher) -> Verdict:
        """Read every layer once and judge the whole, damaged or not."""
        layers = self.outcome.conversion.layers
        measures = measure_layers(layers, lambda layer: self.file.used(layer.tensors()), watchers)
        verdict = judge(self.outcome, self.facts, measures)
        self.file.release()
        return verdict


def read(
    path: str | Path, families: Sequence[Family] = FAMILIES, context: Context = NOTHING_BESIDE
) -> LoraWeights:
    """Read an adapter. Tensors keep their dtype and stay on disk until used.

    Raises:
        LoraFileError: the file cannot be used; the subclass and text say why.
    """
    return open_adapter(path, families, context).read()


def open_adapter(
    path: str | Path, families: Sequence[Family] = FAMILIES, context: Context = NOTHING_BESIDE
) -> OpenedLora:
    """Find out what a file holds, without its weights.

    Raises:
        LoraFileError: the file is no adapter, or of a kind that is not read.
    """
    # It brings torch, which a header does without.
    from encoder.adapter.tensor_file import TensorFile

    path = Path(path)
    header = name_first_format(path, read_header(path))
    file = TensorFile(path, header)

    def get(key: str) -> Tensor:
        tensor = file.tensor(key)
        # Numbers and vectors are small; matrices stay in the file until they are used.
        return to_arithmetic(tensor) if tensor.ndim < 2 else tensor

    placed = place_tensors(path, header, get, context.said(path, header, families))
    return OpenedLora(path, header, file, placed.outcome, _facts(header, placed))


def read_verdict(
    path: str | Path, families: Sequence[Family] = FAMILIES, context: Context = NOTHING_BESIDE
) -> Verdict:
    """Judge a file, also one whose layers have no place or hold NaN: then not `loadable`.

    Raises:
        LoraFileError: the file is no adapter, or of a kind that is not read.
    """
    return open_adapter(path, families, context).judge()


def inspect(
    header: Header,
    name: str | Path,
    families: Sequence[Family] = FAMILIES,
    context: Context = NOTHING_BESIDE,
) -> Verdict:
    """Judge a file by its header; what only numbers tell is left empty.

    Raises:
        LoraFileError: as for `read`.
    """
    header = name_first_format(name, header)
    path = name if isinstance(name, Path) else None
    placed = place_header(name, header, context.said(path, header, families))
    return judge(placed.outcome, _facts(header, placed))


def _facts(header: Header, placed: Placed) -> FileFacts:
    data = max((tensor.end for tensor in header.tensors.values()), default=0)
    return FileFacts(
        format=placed.format,
        trainer=find_trainer(header.metadata) or TRAINERS.get(placed.format),
        alpha=placed.alpha,
        alphas=placed.alphas,
        config=placed.config,
        dtype=placed.dtype,
        size=header.data_start + data,
        parts=placed.parts,
        notes=placed.notes,
    )
