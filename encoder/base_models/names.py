"""What hubs and trainers call a base model -> our name of it.

Only whole names count: "flux" somewhere in a name says nothing of what weights load into. The
words are in the base models' files; the same word may mean one thing on hubs and another to
trainers ("FLUX_1" is ModelScope's for FLUX.1-dev and sd-scripts' for any FLUX.1).
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal

from encoder.base_models.facts import Variant, read_facts, variant_names

UNKNOWN_BASE_MODEL = "unknown"
Whose = Literal["hub_words", "trainer_words"]

# The number that ModelScope's MusePublic puts before a checkpoint's name.
MUSE_ID = re.compile(r"^\d+_ckpt_", re.IGNORECASE)
MAX_WORD = 200


def name_listed(words: Iterable[str]) -> str:
    """Return our name of the first of a hub's words that we know, else "unknown"."""
    names = words_of("hub_words")
    known = (names.get(squeeze(_without_owner(word[:MAX_WORD]))) for word in words)
    return next(filter(None, known), UNKNOWN_BASE_MODEL)


def name_claim(words: str) -> str | None:
    """Return our name of the base model that a trainer names, None if it is not known here."""
    name = re.sub(r"/(lora|embedding|textual-inversion)$", "", words.strip().lower())
    name = re.sub(r"\.(safetensors|ckpt|pth?)$", "", re.split(r"[/\\]", name)[-1])
    return words_of("trainer_words").get(squeeze(name))


def find_base_model(words: str) -> str | None:
    """Return our name of the base model that a person names.

    None if it is not known here, or may be one of several.
    """
    names = names_meant(words)
    return names[0] if len(names) == 1 else None


def names_meant(words: str) -> tuple[str, ...]:
    """Return our names of all base models that a person may mean; none if none is known here.

    As they are called here, on hubs or by trainers, or else by people: without regard to case,
    spaces, signs and full width.
    """
    words = unicodedata.normalize("NFKC", words)
    if (name := _own_names().get(squeeze(words))) is not None:
        return (name,)
    if (listed := name_listed([words])) != UNKNOWN_BASE_MODEL:
        return (listed,)
    claimed = name_claim(words)
    return (claimed,) if claimed else _peoples_names().get(squeeze(words), ())


@cache
def _own_names() -> Mapping[str, str]:
    return {squeeze(name): name for name in variant_names()}


@cache
def _peoples_names() -> Mapping[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for facts in read_facts().values():
        for variant in facts.variants.values():
            for word in map(squeeze, variant.people_words):
                names[word] = (*names.get(word, ()), variant.name)
    return names


@cache
def words_of(whose: Whose) -> Mapping[str, str]:
    """Return every word of all hubs or of all trainers, squeezed, with our name for it."""
    known = (variant for facts in read_facts().values() for variant in facts.variants.values())
    return collect_words(known, whose)


def collect_words(variants: Iterable[Variant], whose: Whose) -> Mapping[str, str]:
    """Return the variants' words, squeezed, with the variant's name.

    Raises:
        ValueError: two base models claim the same word.
    """
    names: dict[str, str] = {}
    for variant in variants:
        for word in map(squeeze, getattr(variant, whose)):
            if names.setdefault(word, variant.name) != variant.name:
                raise ValueError(f"{word!r} of {whose} is {names[word]} and {variant.name}")
    return names


def squeeze(word: str) -> str:
    """Return a word's letters and digits: "FLUX.1-dev" and "Flux 1 dev" are the same.

    Of Chinese words too, where no Latin letter is: hubs write 模型 after names.
    """
    latin = re.sub(r"[^a-z0-9]", "", word.lower())
    if re.search(r"[a-z]", latin):
        return latin
    return "".join(character for character in word if character.isalnum())


def _without_owner(word: str) -> str:
    """ "MusePublic/489_ckpt_FLUX_1@v1" -> "FLUX_1"; "flux-1-dev/lora" -> "flux-1-dev"."""
    return MUSE_ID.sub("", word.split("@")[0].removesuffix("/lora").rpartition("/")[2])
