"""What is known of each base model: a JSON file here, read into values when first asked for.

A file holds one architecture with its sizes (a family) and the base models of it (variants).
Its keys are the fields below, a pipeline's `class` for `diffusers_class`; what a file leaves out
has the default. Its layers, which are far more, are apart in layers/ and written by
`python -m encoder.base_models`. docs/extending.md says how a base model is added.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Variant:
    """One base model. Words count by their letters and digits: "FLUX_1" is "flux1"."""

    name: str
    # What hubs call it: ModelScope's base_model and vision_foundation, ids on Hugging Face,
    # Civitai's baseModels.
    hub_words: tuple[str, ...] = ()
    # What trainers write into files: modelspec.architecture, ss_base_model_version and
    # ss_sd_model_name (a file or a hub's id) of sd-scripts [1], musubi-tuner [2], ai-toolkit [3],
    # OneTrainer [4], SimpleTuner [5] (its family and flavour) and Draw Things [6]. A word that one
    # of them means otherwise than the rest has its name before it: "simpletunersd3medium".
    # - [1] https://github.com/kohya-ss/sd-scripts library/sai_model_spec.py, library/*_util*.py
    # - [2] https://github.com/kohya-ss/musubi-tuner utils/sai_model_spec.py,
    #   dataset/architectures.py
    # - [3] https://github.com/ostris/ai-toolkit get_base_model_version of its models
    # - [4] https://github.com/Nerogar/OneTrainer resources/sd_model_spec, modelSaver/mixin
    # - [5] https://github.com/bghira/SimpleTuner simpletuner/helpers/models/*/model.py
    # - [6] https://github.com/drawthingsai/draw-things-community LoRAExporter.swift
    trainer_words: tuple[str, ...] = ()
    # What people call it besides, where they ask for adapters; nobody's word on what one is for is
    # understood by them. The same word may mean several base models: "sd", "flux".
    people_words: tuple[str, ...] = ()
    licence: str | None = None  # from its model card
    hub_id: str | None = None  # on Hugging Face
    # Set where it draws best with others than its pipeline's, as distilled ones do.
    steps: int | None = None
    guidance: float | None = None
    # It has its family's layers and draws in another space (pixels): it shares no adapter with it.
    apart: bool = False


@dataclass(frozen=True, slots=True)
class ComfyFiles:
    """The files that ComfyUI loads a base from, as its own examples call them.

    Either a checkpoint with all parts, or text encoders and a vae beside a network, whose file
    is called after the variant where `network` does not say.
    """

    checkpoint: str | None = None
    network: str | None = None
    text_encoders: tuple[str, ...] = ()
    text_type: str = ""
    vae: str = ""
    weighs_words: bool = True  # that stand in parentheses in a prompt


@dataclass(frozen=True, slots=True)
class Pipeline:
    """How diffusers draws with a family; steps and guidance are those of the model card."""

    name: str  # what recipes call it
    diffusers_class: str
    steps: int
    guidance: float
    denoiser: str = "transformer"  # the part that adapters change
    token_side: int = 2  # latents to a side of a token
    side: int | None = None  # pixels to a side of what it draws, where its class does not say
    # The argument that guidance by a second pass goes into; `guidance_input` where networks take
    # guidance as an input instead, all but those of variants with a guidance of 1.
    guidance_argument: Literal["guidance_scale", "true_cfg_scale"] = "guidance_scale"
    guidance_input: bool = False
    # What is given where there is none: 0 for classes that draw with v + g (v - v_0).
    no_guidance: float = 1.0
    # How passes without the prompt are run, and what stands for a negative prompt that is empty.
    unprompted: Literal["calls", "halves", "second halves"] = "calls"
    negative_argument: Literal["negative_prompt", "negative_prompt_embeds"] = "negative_prompt"
    empty_negative: str | None = ""
    guide_from: Literal["fused", "base"] = "fused"  # what guidance leads gated adapters away from
    # A folder without model_index.json, trained on a sentence encoder's embeddings.
    bare: bool = False
    # What kind of latents it draws, several families having the same: their colours are in
    # registry/fusion/latent_colours.py. "" where none are known.
    latents: str = ""
    comfyui: ComfyFiles | None = None

    @property
    def takes_guidance(self) -> bool:
        """Whether the network takes guidance as an input; distilled variants go without."""
        return self.guidance_input and self.guidance > 1

    def guidance_value(self, guidance: float) -> float:
        """Return what the class is given for v_0 + g (v - v_0)."""
        return guidance - 1 + self.no_guidance


@dataclass(frozen=True, slots=True)
class Facts:
    """One JSON file; without an `architecture`, its base models are known by name alone."""

    name: str
    variants: Mapping[str, Variant]  # the most general first, the most special last
    source: str = ""  # where the config is published
    architecture: str = ""  # diffusers' class
    config: Mapping[str, Any] = field(default_factory=dict)
    text_widths: tuple[int, ...] = ()  # hidden sizes of the text encoders, where known
    # The architecture's modules that hold its blocks; what lies outside embeds inputs and makes
    # outputs.
    blocks: tuple[str, ...] = ()
    # Layers that the published network has and the class lacks.
    more_layers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    # Networks that adapters change as well, with their classes and configs, by the name that
    # their layers begin with.
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    read: bool = True  # false: known only to be told apart, its adapters are not read
    video: bool = False  # it makes moving pictures, which are not drawn here
    # Hubs have so few adapters of it that the other reading is nearly always right.
    rare: bool = False
    # Where a file fits several equally well or badly, those of low precedence are named first:
    # what adapters on hubs are made for most often.
    precedence: int = 100
    sizes: tuple[str, ...] = ()  # of a name that leaves the size open: the families it may be
    pipeline: Pipeline | None = None  # None: images are not drawn with it here


@cache
def read_facts(folder: Path = FOLDER) -> Mapping[str, Facts]:
    """Return what every file says by the file's name without its ending, by precedence."""
    known = map(_read_file, folder.glob("*.json"))
    ordered = sorted(known, key=lambda facts: (facts.precedence, facts.name))
    return {facts.name: facts for facts in ordered}


def find_facts(base_model: str) -> Facts | None:
    """Return the facts of the family that a base model is a variant of."""
    return _by_variant().get(base_model)


def variant_of(base_model: str) -> Variant:
    """Return what is known of a base model, its name alone where nothing is."""
    facts = find_facts(base_model)
    return facts.variants[base_model] if facts else Variant(base_model)


def related_base_models(base_model: str, *, siblings: bool = True) -> tuple[str, ...]:
    """Return the base models whose adapters are meant where `base_model` is asked for.

    Its family's name asks for all of the family that share adapters, and a name that leaves the
    size open ("wan") for all sizes, unless no `siblings` are wanted. A name that says nothing
    but the family ("flux.1") may stand for any of it, so it comes with each.
    """
    facts = find_facts(base_model)
    if facts is None:
        return (base_model,)
    if facts.sizes and base_model == facts.name and siblings:
        sized = (read_facts()[size] for size in facts.sizes)
        return tuple(
            dict.fromkeys([*facts.variants, *(v for size in sized for v in size.variants)])
        )
    if base_model == facts.name:
        together = (name for name, variant in facts.variants.items() if not variant.apart)
        return tuple(together) if siblings else (base_model,)
    return (base_model, *_open_name(facts))


def common_bases(base_models: Sequence[str], runnable: Collection[str] = ()) -> list[str]:
    """Return the base models that draw with adapters of all of these, `runnable` ones first.

    None of no adapters.
    """
    if not base_models:
        return []
    common = [
        name
        for name in _drawn_by(base_models[0])
        if all(name in _drawn_by(other) for other in base_models)
    ]
    return sorted(common, key=lambda name: name not in runnable)


def bases_for(base_models: Sequence[str], runnable: Collection[str]) -> list[str]:
    """Return those `runnable` ones that adapters of these are for, in their order.

    Where there is none, those that may be meant by a name that says nothing but the family.
    """
    return [name for name in base_models if name in runnable] or [
        base
        for name in base_models
        for base in runnable
        if name in related_base_models(base, siblings=False)
    ]


def family_of(base_model: str) -> str:
    """Return the name of a base model's family, its own where nothing is known of it."""
    facts = find_facts(base_model)
    return facts.name if facts else base_model


def family_members(base_model: str) -> tuple[str, ...]:
    """Return the base models of the family that a base model is of, or that it names."""
    facts = find_facts(base_model) or read_facts().get(base_model)
    return tuple(dict.fromkeys([facts.name, *facts.variants])) if facts else (base_model,)


def _open_name(facts: Facts) -> tuple[str, ...]:
    """Return the name that leaves open which of a family's base models is meant, if it has one."""
    general = facts.variants.get(facts.name)
    is_open = general is not None and not general.hub_words and len(facts.variants) > 1
    return (facts.name,) if is_open else ()


def is_open_name(base_model: str) -> bool:
    """Whether a name says the family and leaves open which of its base models is meant."""
    facts = find_facts(base_model)
    return facts is not None and base_model in _open_name(facts)


def variant_names() -> list[str]:
    """Return the names of all base models known here."""
    return list(_by_variant())


def find_pipeline(base_model: str, fits: Callable[[Pipeline], bool]) -> Pipeline | None:
    """Return the base model's own pipeline if it fits, else the first of another's that does.

    People call a folder what they like, and its files tell the class. Steps and guidance are
    those of the variant.
    """
    facts = find_facts(base_model)
    own = [facts.pipeline] if facts and facts.pipeline else []
    pipeline = next(filter(fits, [*own, *known_pipelines()]), None)
    if pipeline is None:
        return None
    variant = variant_of(base_model)
    return replace(
        pipeline,
        steps=pipeline.steps if variant.steps is None else variant.steps,
        guidance=pipeline.guidance if variant.guidance is None else variant.guidance,
    )


def known_pipelines() -> list[Pipeline]:
    """Return the pipelines of all base models that images are drawn with."""
    return [facts.pipeline for facts in read_facts().values() if facts.pipeline]


@cache
def _drawn_by(base_model: str) -> tuple[str, ...]:
    others = (name for name in variant_names() if base_model in related_base_models(name))
    return tuple(dict.fromkeys([base_model, *others]))


@cache
def _by_variant() -> Mapping[str, Facts]:
    return {name: facts for facts in read_facts().values() for name in facts.variants}


def _read_file(path: Path) -> Facts:
    facts = _freeze(json.loads(path.read_bytes()))
    try:
        facts["variants"] = {
            name: Variant(name, **_freeze(variant)) for name, variant in facts["variants"].items()
        }
        if config := facts.get("config"):
            facts["config"] = _freeze(config)
        if pipeline := facts.get("pipeline"):
            facts["pipeline"] = _make_pipeline(_freeze(pipeline))
        return Facts(path.stem, **facts)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.name} says too little or too much: {error}") from error


def _make_pipeline(facts: dict[str, Any]) -> Pipeline:
    if files := facts.get("comfyui"):
        facts["comfyui"] = ComfyFiles(**_freeze(files))
    return Pipeline(diffusers_class=facts.pop("class"), **facts)


def _freeze(facts: dict[str, Any]) -> dict[str, Any]:
    """Lists become tuples: values are shared by all who ask."""
    return {key: tuple(value) if type(value) is list else value for key, value in facts.items()}
