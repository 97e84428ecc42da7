"""What each adapter of the zoo is about, which split it is in, and what is withheld.

Everything here is a pure function of the art and `SEED`: the base, the zoo and the
benchmarks call `plan()` and agree on it without a file between them.
"""

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from demo.art import STYLES
from demo.effects import COLOURS, PATTERNS, apply_effect, on_white
from demo.paths import BUILD

SEED = 20
COUNTS = {"object": 620, "style": 360, "colour": 60, "texture": 80, "background": 80}
SPLITS = {"train": 0.58, "validation": 0.10, "held-out": 0.32}
# The base is trained on these styles and on 85 % of the names; adapters teach the rest.
BASE_STYLES = ("noto", "noto-v1", "fxemoji", "twemoji", "emojione", "fluent-flat")
BASE_NAME_SHARE = 0.85
# (object, style) cells that nothing is trained on: fusion is judged on them.
WITHHELD_PAIRS = {"held-out": 130, "validation": 50}

GROUP_WORDS = {
    "smileys-emotion": ("faces", "表情"),
    "animals-nature": ("animals", "动植物"),
    "food-drink": ("food", "食物"),
    "travel-places": ("places", "旅行地点"),
    "activities": ("activities", "活动"),
    "objects": ("objects", "物品"),
    "symbols": ("symbols", "符号"),
}

STYLE_PHRASES = {
    "noto": ("glossy shaded gradient", "光泽渐变"),
    "noto-v1": ("soft rounded blob", "柔和圆润"),
    "fxemoji": ("simple pastel flat", "简洁粉彩扁平"),
    "twemoji": ("clean flat vector", "干净扁平矢量"),
    "emojione": ("bright cartoon", "明亮卡通"),
    "emojione-mono": ("monochrome black silhouette", "黑色单色剪影"),
    "fluent-flat": ("bold saturated flat", "浓烈饱和扁平"),
    "fluent-line": ("black high contrast line art", "黑色高对比线稿"),
}


@dataclass(frozen=True)
class Art:
    """Pictures with what they show."""

    rgba: npt.NDArray[np.uint8]  # (n, 64, 64, 4)
    style: npt.NDArray[np.int64]  # (n,), index into STYLES
    name: npt.NDArray[np.int64]  # (n,), index into names
    names: list[dict[str, Any]]


@dataclass(frozen=True)
class Concept:
    """One adapter to be trained: its pictures, words and split."""

    key: str
    kind: str  # object, style, colour, texture, background
    split: str
    images: tuple[int, ...]  # picture indices it is trained on
    unseen: tuple[int, ...]  # pictures of the concept kept for judging it
    captions: tuple[str, str, str]  # short, medium, long
    captions_zh: tuple[str, str, str]
    trigger: str
    subject: str  # plain words for what it is about, used in listings
    subject_zh: str
    effect: tuple[str, str] | None = None  # (pattern, colour)
    style: str | None = None


@dataclass(frozen=True)
class Plan:
    """The zoo as planned: concepts, and the cells withheld from all training."""

    art: Art
    concepts: list[Concept]
    base_images: npt.NDArray[np.int64]
    # (picture index, object concept key, style concept key, split)
    withheld: list[tuple[int, str, str, str]] = field(default_factory=list)

    def pictures(self, concept: Concept, images: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Draw pictures of a concept, RGB uint8 (n, 64, 64, 3)."""
        rgba = self.art.rgba[list(images)]
        if concept.effect is None:
            return on_white(rgba)
        return apply_effect(concept.kind, *concept.effect, rgba)


def load_art() -> Art:
    arrays = np.load(BUILD / "art.npz")
    names = json.loads((BUILD / "names.json").read_text())
    return Art(arrays["rgba"], arrays["style"], arrays["name"], names)


def plan() -> Plan:
    """Choose concepts, splits and withheld cells."""
    art = load_art()
    rng = np.random.default_rng(SEED)
    by_name, by_cell = images_by_name_and_cell(art)
    objects = pick(rng, [n for n, images in by_name.items() if len(images) >= 7], COUNTS["object"])
    styles = pick(rng, [c for c, images in by_cell.items() if len(images) >= 8], COUNTS["style"])
    object_split = assign_splits(rng, objects)
    style_split = assign_splits(rng, styles)
    withheld = withhold_cells(rng, art, object_split, style_split)
    hidden = {image for image, _, _, _ in withheld}

    concepts = [
        object_concept(rng, art, name, split, [i for i in by_name[name] if i not in hidden])
        for name, split in object_split.items()
    ]
    concepts += [
        style_concept(rng, art, cell, split, [i for i in by_cell[cell] if i not in hidden])
        for cell, split in style_split.items()
    ]
    colourful = np.isin(art.style, [STYLES.index(s) for s in BASE_STYLES])
    visible = [i for i in np.flatnonzero(colourful).tolist() if i not in hidden]
    concepts += effect_concepts(rng, art, visible)

    kept_names = rng.permutation(len(art.names))[: int(BASE_NAME_SHARE * len(art.names))]
    known = np.isin(art.name, kept_names)
    base_images = np.array([i for i in visible if known[i]])
    return Plan(art, concepts, base_images, withheld)


def images_by_name_and_cell(
    art: Art, hidden: Collection[int] = ()
) -> tuple[dict[int, list[int]], dict[tuple[int, str], list[int]]]:
    """Return pictures by what they show, and by style with subgroup; none that is `hidden`."""
    by_name: dict[int, list[int]] = defaultdict(list)
    by_cell: dict[tuple[int, str], list[int]] = defaultdict(list)
    for image, (style, name) in enumerate(zip(art.style.tolist(), art.name.tolist(), strict=True)):
        if image not in hidden:
            by_name[name].append(image)
            by_cell[style, art.names[name]["subgroup"]].append(image)
    return by_name, by_cell


def pick(rng: np.random.Generator, candidates: list[Any], count: int) -> list[Any]:
    return [candidates[k] for k in rng.permutation(len(candidates))[:count]]


def assign_splits(rng: np.random.Generator, keys: list[Any]) -> dict[Any, str]:
    order = rng.permutation(len(keys))
    edges = np.cumsum([round(share * len(keys)) for share in SPLITS.values()])
    names = list(SPLITS)
    return {
        keys[k]: names[min(int(np.searchsorted(edges, place, side="right")), len(names) - 1)]
        for place, k in enumerate(order)
    }


def withhold_cells(
    rng: np.random.Generator,
    art: Art,
    object_split: dict[int, str],
    style_split: dict[tuple[int, str], str],
) -> list[tuple[int, str, str, str]]:
    """Choose pictures that show an object of the zoo in a style of the zoo, to hide.

    Pairs for reporting have both adapters held out; pairs for tuning have neither.
    A concept loses at most two pictures, so that it can still be learned.
    """
    chosen: list[tuple[int, str, str, str]] = []
    taken_object: dict[int, int] = defaultdict(int)
    taken_style: dict[tuple[int, str], int] = defaultdict(int)
    wanted = dict(WITHHELD_PAIRS)
    for image in rng.permutation(len(art.name)).tolist():
        name = int(art.name[image])
        cell = (int(art.style[image]), art.names[name]["subgroup"])
        if name not in object_split or cell not in style_split:
            continue
        held = (object_split[name] == "held-out") + (style_split[cell] == "held-out")
        if held == 1:
            continue
        split = "held-out" if held == 2 else "validation"
        if not wanted[split] or taken_object[name] >= 1 or taken_style[cell] >= 2:
            continue
        wanted[split] -= 1
        taken_object[name] += 1
        taken_style[cell] += 1
        chosen.append((image, object_key(art, name), style_key(cell), split))
    return chosen


def object_key(art: Art, name: int) -> str:
    return f"object/{art.names[name]['label']}"


def style_key(cell: tuple[int, str]) -> str:
    return f"style/{STYLES[cell[0]]}/{cell[1]}"


def part(rng: np.random.Generator, images: list[int], unseen: int) -> tuple[Any, Any]:
    order = [images[k] for k in rng.permutation(len(images))]
    return tuple(order[unseen:]), tuple(order[:unseen])


def object_concept(
    rng: np.random.Generator, art: Art, name: int, split: str, images: list[int]
) -> Concept:
    entry = art.names[name]
    trained, unseen = part(rng, images, 1)
    label, tags = entry["label"], entry["tags"]
    label_zh, tags_zh = entry["label_zh"], entry["tags_zh"]
    group = entry["group"].replace("-", " and ")
    return Concept(
        key=object_key(art, name),
        kind="object",
        split=split,
        images=trained,
        unseen=unseen,
        captions=(
            label,
            f"{label}: {', '.join(tags[:3])}",
            f"An icon of {label} from the {group} category ({entry['subgroup']}), "
            f"about {', '.join(tags[:6])}.",
        ),
        captions_zh=(
            label_zh,
            f"{label_zh}：{'、'.join(tags_zh[:3])}",
            f"一个{label_zh}的图标，属于{entry['subgroup_zh']}，关于{'、'.join(tags_zh[:6])}。",
        ),
        trigger=f"{label} icon",
        subject=label,
        subject_zh=label_zh,
    )


def style_concept(
    rng: np.random.Generator, art: Art, cell: tuple[int, str], split: str, images: list[int]
) -> Concept:
    style, subgroup = STYLES[cell[0]], cell[1]
    phrase, phrase_zh = STYLE_PHRASES[style]
    trained, unseen = part(rng, images, max(1, len(images) // 5))
    members = [art.names[int(art.name[i])] for i in trained[:6]]
    labels, labels_zh = [m["label"] for m in members], [m["label_zh"] for m in members]
    subgroup_zh = members[0]["subgroup_zh"]
    return Concept(
        key=style_key(cell),
        kind="style",
        split=split,
        images=trained,
        unseen=unseen,
        captions=(
            f"{phrase} {subgroup}",
            f"{phrase} style {subgroup} such as {', '.join(labels[:2])}",
            f"A {phrase} style for drawing {subgroup}: {', '.join(labels)}.",
        ),
        captions_zh=(
            f"{phrase_zh}{subgroup_zh}",
            f"{phrase_zh}风格的{subgroup_zh}，例如{'、'.join(labels_zh[:2])}",
            f"用{phrase_zh}风格画{subgroup_zh}：{'、'.join(labels_zh)}。",
        ),
        trigger=f"{phrase} style",
        subject=f"{phrase} {subgroup}",
        subject_zh=f"{phrase_zh}{subgroup_zh}",
        style=style,
    )


def effect_concepts(rng: np.random.Generator, art: Art, visible: list[int]) -> list[Concept]:
    groups: dict[str, list[int]] = defaultdict(list)
    for image in visible:
        groups[art.names[int(art.name[image])]["group"]].append(image)
    concepts = []
    for kind, patterns in PATTERNS.items():
        options = [(p, c, g) for p in patterns for c in COLOURS for g in groups]
        chosen = pick(rng, options, COUNTS[kind])
        for (pattern, colour, group), split in assign_splits(rng, chosen).items():
            concepts.append(
                effect_concept(rng, art, kind, (pattern, colour, group), split, groups[group])
            )
    return concepts


def effect_concept(
    rng: np.random.Generator,
    art: Art,
    kind: str,
    effect: tuple[str, str, str],
    split: str,
    images: list[int],
) -> Concept:
    pattern, colour, group = effect
    trained, unseen = part(rng, pick(rng, images, 20), 4)
    english, chinese = PATTERNS[kind][pattern]
    phrase, phrase_zh = english.format(colour), chinese.format(COLOURS[colour][0])
    members = [art.names[int(art.name[i])] for i in trained[:4]]
    labels, labels_zh = [m["label"] for m in members], [m["label_zh"] for m in members]
    word, word_zh = GROUP_WORDS[group]
    return Concept(
        key=f"{kind}/{colour} {pattern}/{word}",
        kind=kind,
        split=split,
        images=trained,
        unseen=unseen,
        captions=(
            f"{phrase} {word}",
            f"{phrase}, for {word} such as {', '.join(labels[:2])}",
            f"{phrase}, used on {word} such as {', '.join(labels)}.",
        ),
        captions_zh=(
            f"{phrase_zh}{word_zh}",
            f"{phrase_zh}{word_zh}，例如{'、'.join(labels_zh[:2])}",
            f"{phrase_zh}，用于{word_zh}：{'、'.join(labels_zh)}。",
        ),
        trigger=phrase,
        subject=f"{phrase} {word}",
        subject_zh=f"{phrase_zh}{word_zh}",
        effect=(pattern, colour),
    )
