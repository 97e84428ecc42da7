"""safetensors of an unknown author -> LoraWeights with a verdict, or a typed refusal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from crawler.peft_config import read_config_beside
from encoder.adapter.alpha import alpha_notes, check_magnitudes, find_alpha, find_config
from encoder.adapter.assemble import assemble
from encoder.adapter.convert import Outcome, convert
from encoder.adapter.first_format import name_first_format
from encoder.adapter.header_tensor import HeaderTensor
from encoder.adapter.key_parts import KeyPlan, plan_layers
from encoder.adapter.layers import Layer
from encoder.adapter.lora_metadata import claimed_base_models, find_trainer, trigger_words
from encoder.adapter.peft_config import parse_config
from encoder.adapter.refused_kinds import refuse_kinds
from encoder.adapter.safetensors_header import Header, TensorInfo, read_header
from encoder.adapter.spectrum import Watcher, is_evidently_sound, measure_layers
from encoder.adapter.verdict import FileFacts, Verdict, judge
from encoder.base_models.families import FAMILIES, Family
from encoder.base_models.matching import Claim
from encoder.errors import BadWeightsError, UnsupportedLoraError
from encoder.late_torch import Tensor

if TYPE_CHECKING:
    from encoder.adapter.tensor_file import TensorFile

# Change this with what is read or refused: files are then read again, refused ones too.
READER_VERSION = "reader-4"

# What weights are stored as, by safetensors' names.
DTYPES = {"F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"}
# Longer metadata values (tag counts, thumbnails) are read but not kept.
MAX_METADATA_CHARACTERS = 10_000
# Text encoders' layers that take the encoder's own width.
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "SelfAttention_q", "SelfAttention.q")
# What a prefix says of the file's format; the first that it begins with counts.
FORMATS = {
    "lora_unet_": "kohya", "lora_transformer_": "onetrainer", "lycoris_": "lycoris",
    "cloneofsimo.": "cloneofsimo", "diffusion_model.": "comfyui",
    "model.diffusion_model.": "comfyui",
}  # fmt: skip
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

    def config_of(self, path: Path | None) -> tuple[dict[str, Any] | None, str]:
        """Return the config's settings, and why one that is there cannot be used."""
        try:
            text = self.peft_config
            if text is None:
                text = read_config_beside(path) if path else ""
            return (parse_config(text) if text else None), ""
        except ValueError as error:
            return None, str(error)


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
            more = f", and {count - 1} layers more" if count > 1 else ""
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
        # float8 has no arithmetic on a CPU; bfloat16 holds all of its values.
        return tensor.bfloat16() if tensor.dtype.itemsize == 1 else tensor

    named = _name_layers(path, header, families, get, context)
    return OpenedLora(path, header, file, *named)


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

    def get(key: str) -> Tensor:
        return _empty(header.tensors[key])

    return judge(*_name_layers(name, header, families, get, context))


def _name_layers(
    file: str | Path,
    header: Header,
    families: Sequence[Family],
    get: Callable[[str], Tensor],
    context: Context,
) -> tuple[Outcome, FileFacts]:
    claims = [*context.claims, *claimed_base_models(header.metadata)]
    refuse_kinds(file, header.tensors, [claim.base_model for claim in claims])
    plan = plan_layers(file, header.tensors)
    _check_dtypes(file, header, plan)
    beside, trouble = context.config_of(file if isinstance(file, Path) else None)
    config, place = find_config(file, header, plan, beside)
    alpha = find_alpha(file, header, plan, config, place)
    parts = {
        module: assemble(file, module, slots, get, alpha) for module, slots in plan.modules.items()
    }
    check_magnitudes(file, plan, config)
    outcome = convert(file, plan, parts, families, claims, _text_widths(header, plan))
    data = max((tensor.end for tensor in header.tensors.values()), default=0)
    keys = [key for slots in plan.modules.values() for s, key in slots.items() if s != "alpha"]
    written = _name_format(plan, outcome)
    facts = FileFacts(
        format=written,
        trainer=find_trainer(header.metadata) or TRAINERS.get(written),
        alpha=alpha.rule,
        alphas=tuple(part.alpha for part in parts.values() if part.alpha is not None),
        dtype="+".join(sorted({header.tensors[key].dtype for key in keys})),
        size=header.data_start + data,
        parts=dict(sorted(plan.parts.items())),
        notes=alpha_notes(plan, alpha, trouble),
    )
    return outcome, facts


def _empty(tensor: TensorInfo) -> Tensor:
    return cast("Tensor", HeaderTensor(tensor.shape))


def _check_dtypes(file: str | Path, header: Header, plan: KeyPlan) -> None:
    for module, slots in plan.modules.items():
        for slot, key in slots.items():
            dtype = header.tensors[key].dtype
            # Some trainers write alpha as an integer.
            if dtype not in DTYPES and not (slot == "alpha" and dtype[0] in "IU"):
                raise BadWeightsError(file, f"layer {module} is stored as {dtype}")


def _text_widths(header: Header, plan: KeyPlan) -> set[int]:
    return {
        header.tensors[key].shape[1]
        for slot, key in plan.text
        if slot == "down"
        and len(header.tensors[key].shape) == 2
        and any(f"{name}." in key for name in TEXT_ATTENTION)
    }


def _name_format(plan: KeyPlan, outcome: Outcome) -> str:
    """Name how the file is written, by what its program is known for."""
    for prefix, known in FORMATS.items():
        if plan.prefix.startswith(prefix):
            return known
    convention = outcome.conversion.convention
    if convention in ("xlabs", "diffsynth"):
        return convention
    if convention == "bfl":
        return "fal" if plan.prefix.startswith("base_model.") else "bfl"
    return "peft"
