"""What each adapter of the wide zoo is about: a pure function of the art and a group's number.

A group is 32 adapters of one author and one split. Of every four groups three are for training;
the fourth is of sets that nothing else has seen, two of three for reports and one for choices.
So wherever the work is stopped, what is there is a fair sample of the whole. Groups from
`FIRST_OF_BELIEFS` on are of sets of their own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from demo.concepts import GROUP_WORDS
from demo.effects import COLOURS, PATTERNS, apply_effect, on_white
from demo.world.art import Art, load_art
from demo.world.authors import Author, draw_author
from demo.world.captions import Told, tell
from demo.world.manners import Words, words, words_of_effect, words_of_look
from demo.world.said import said_of_effect, said_of_look
from demo.world.sources import Look, Split, load_looks, load_sources
from demo.world.splits import Unseen, is_withheld

SEED = 31
KINDS = {"object": 7, "thing": 6, "style": 5, "subject": 6, "effect": 5, "mixture": 3}
GROUP = sum(KINDS.values())
FIRST_OF_BELIEFS = 1000
FEWEST_OF_OBJECT, FEWEST_OF_SUBJECT, FEWEST_OF_STYLE = 3, 5, 8
MOST_OF_OBJECT, MOST_OF_STYLE = 8, 20
# Of one bag of a concept's gradient.
PICTURES_OF_NAME, PICTURES_OF_MANNER = 4, 8
# Pictures that a made look is offered: one in five is toned and thick.
MOST_OFFERED = 120
LAZY_PICTURES, MISLABELLED = 3, 0.34
DRAWN_AS = " drawn as a "

# It draws with scipy, which only who makes a zoo has.
if TYPE_CHECKING:
    from demo.world.made_looks import MadeLook

T = TypeVar("T")


@dataclass(frozen=True)
class Concept:
    """One adapter to be trained."""

    kind: str
    key: str  # adapters of one key are about the same
    thing: str  # the first picture's right name
    pictures: tuple[int, ...]  # places in the split's art
    effect: tuple[str, str, str] | None  # kind, pattern, colour
    names: tuple[str, ...]  # what the pictures' prompts call them; wrong ones of lazy authors
    trigger: str  # what the author's prompts call the concept
    sources: tuple[str, ...]
    looks: tuple[str, ...]
    told: Told

    @property
    def is_thing(self) -> bool:
        """Whether it teaches what is drawn rather than how."""
        return self.kind in ("object", "thing", "mixture")


def split_of(number: int) -> Split:
    """Return the split of a group."""
    if number >= FIRST_OF_BELIEFS:
        return "beliefs"
    if number % 4 != 3:
        return "train"
    return "validation" if number // 4 % 3 == 2 else "held-out"


@dataclass(frozen=True)
class Planner:
    """Draws the concepts of groups of one split."""

    split: Split
    art: Art
    looks: tuple[Look, ...] = field(default_factory=load_looks)
    unseen: Unseen = field(default_factory=Unseen)

    @classmethod
    def load(cls, split: Split, unseen: Unseen | None = None) -> "Planner":
        """Load a split's art, without what is `unseen`."""
        return cls(split, load_art((split,)), unseen=unseen or Unseen())

    def group(self, number: int) -> tuple[Author, list[Concept]]:
        """Draw an author and all of the author's concepts."""
        assert split_of(number) == self.split
        rng = np.random.default_rng([SEED, number])
        author = draw_author(rng, number)
        draws: dict[str, Callable[[np.random.Generator, Author], Concept]] = {
            "object": self.object,
            "thing": self.thing,
            "style": self.style,
            "subject": self.subject,
            "effect": self.effect,
            "mixture": self.mixture,
        }
        concepts: dict[str, Concept] = {}
        for kind, count in KINDS.items():
            wanted = len(concepts) + count
            while len(concepts) < wanted:
                concept = draws[kind](rng, author)
                concepts.setdefault(f"{kind} {concept.key} {concept.looks}", concept)
        return author, list(concepts.values())

    def concepts_of(self, rows: Iterable[Mapping[str, Any]]) -> list[Concept]:
        """Return what each adapter is about, by its row of the zoo's table."""
        rows = list(rows)
        groups = {number: self.group(number)[1] for number in {row["group"] for row in rows}}
        return [groups[row["group"]][int(Path(row["file"]).stem) % GROUP] for row in rows]

    def draw(self, concept: Concept) -> npt.NDArray[np.uint8]:
        """Draw a concept's pictures, RGB uint8 (n, 64, 64, 3); few of one thing also mirrored."""
        rgba = self.art.rgba[list(concept.pictures)]
        drawn = on_white(rgba) if concept.effect is None else apply_effect(*concept.effect, rgba)
        return np.concatenate([drawn, drawn[:, :, ::-1]]) if is_mirrored(concept) else drawn

    def object(self, rng: np.random.Generator, author: Author) -> Concept:
        """One name as several looks draw it."""
        name = pick(rng, self._objects)
        pictures = some(rng, self._by_name[name], MOST_OF_OBJECT, author)
        return self._concept("object", pictures, self._name(name), author, rng)

    def thing(self, rng: np.random.Generator, author: Author) -> Concept:
        """One name in one look: few pictures."""
        name = pick(rng, self._spoken)
        first = pick(rng, self._by_name[name])
        style = words_of_look(self._look(first))
        pictures = [i for i in self._by_name[name] if self._look(i) == self._look(first)]
        told = joined(
            self._name(name),
            style,
            f"{{}}{DRAWN_AS}{{}}",
            "{}，{}",
            "draw {} so: {}",
            "把{}画成：{}",
        )
        return self._concept("thing", pictures[:3], told, author, rng)

    def style(self, rng: np.random.Generator, author: Author) -> Concept:
        """One look, whatever it shows."""
        look = pick(rng, self._styles)
        pictures = some(rng, self._by_look[look], MOST_OF_STYLE, author)
        return self._concept("style", pictures, words_of_look(self.looks[look]), author, rng)

    def subject(self, rng: np.random.Generator, author: Author) -> Concept:
        """One look and one sort of things."""
        look, subject = pick(rng, self._subjects)
        style = words_of_look(self.looks[look])
        sort = words(*subject, *subject)
        asked = "all sorts of {}: {}", "各种{}：{}"
        told = joined(sort, style, f"{{}}{DRAWN_AS}{{}}", "{}，{}", *asked)
        pictures = some(rng, self._by_subject[look, subject], MOST_OF_STYLE, author)
        return self._concept("subject", pictures, told, author, rng)

    def effect(self, rng: np.random.Generator, author: Author) -> Concept:
        """An effect on some pictures of one look."""
        effect = draw_effect(rng)
        pictures = some(rng, self._by_look[pick(rng, self._styles)], MOST_OF_STYLE, author)
        return self._concept("effect", pictures, words_of_effect(*effect), author, rng, effect)

    def mixture(self, rng: np.random.Generator, author: Author) -> Concept:
        """One name under an effect."""
        effect, name = draw_effect(rng), pick(rng, self._objects)
        pictures = some(rng, self._by_name[name], MOST_OF_OBJECT, author)
        told = joined(
            self._name(name), words_of_effect(*effect), "{}, {}", "{}，{}", "{} {}", "{}{}"
        )
        return self._concept("mixture", pictures, told, author, rng, effect)

    def name(self, name: int, author: Author, rng: np.random.Generator) -> Concept:
        """A name, as some of its pictures have it."""
        pictures = shuffled(rng, self._by_name[name])[:PICTURES_OF_NAME]
        return self._concept("object", pictures, self._name(name), author, rng)

    def sort(self, sort: tuple[str, str], author: Author, rng: np.random.Generator) -> Concept:
        """A sort of things, as several looks draw them."""
        pictures = shuffled(rng, self._by_sort[sort])[:PICTURES_OF_MANNER]
        return self._concept("object", pictures, words(*sort, *sort), author, rng)

    def manner(
        self, manner: int | tuple[str, str, str], author: Author, rng: np.random.Generator
    ) -> Concept:
        """A look, or an effect on pictures of any one look."""
        effect = None if isinstance(manner, int) else manner
        look = manner if isinstance(manner, int) else pick(rng, sorted(self._styles))
        pictures = shuffled(rng, self._by_look[look])[:PICTURES_OF_MANNER]
        kind = "style" if effect is None else "effect"
        return self._concept(kind, pictures, self.words_of(manner), author, rng, effect)

    def made(self, look: "MadeLook", author: Author, rng: np.random.Generator) -> Concept:
        """A look that no set has, on pictures that can be drawn in it."""
        offered = np.array(self._seen)[rng.choice(len(self._seen), MOST_OFFERED, replace=False)]
        suited = offered[look.suits(self.art.rgba[offered])]
        phrases = words(*look.in_words(rng), *look.in_words(rng))
        return self._concept("style", suited[:PICTURES_OF_MANNER].tolist(), phrases, author, rng)

    def words_of(self, manner: int | tuple[str, str, str]) -> Words:
        """Tell a look or an effect in words."""
        if isinstance(manner, int):
            return words_of_look(self.looks[manner])
        return words_of_effect(*manner)

    def said_of(self, manner: int | tuple[str, str, str]) -> list[str]:
        """Tell a look or an effect in many ways, by its name first."""
        if isinstance(manner, int):
            return said_of_look(self.looks[manner])
        return [*words_of_effect(*manner).seen, *said_of_effect(*manner)]

    @cached_property
    def names(self) -> list[int]:
        """Names with a Chinese one that is no guess, those of many pictures first."""
        return sorted(self._spoken, key=lambda n: (-min(len(self._by_name[n]), 4), n))

    @cached_property
    def sorts(self) -> list[tuple[str, str]]:
        """Sorts of things of which some look has enough."""
        return list(dict.fromkeys(sort for _, sort in self._subjects))

    @cached_property
    def manners(self) -> list[int | tuple[str, str, str]]:
        """All effects, then the looks with pictures enough."""
        effects = [(k, p, c) for k, patterns in PATTERNS.items() for p in patterns for c in COLOURS]
        shown = [effect for effect in effects if effect not in self.unseen.effects]
        return [*shown, *sorted(self._styles)]

    def _concept(
        self,
        kind: str,
        pictures: list[int],
        about: Words,
        author: Author,
        rng: np.random.Generator,
        effect: tuple[str, str, str] | None = None,
    ) -> Concept:
        entries = [self.art.names[int(self.art.name[i])] for i in pictures]
        looks = tuple(sorted({self._look(i).style for i in pictures}))
        labels = [prompt_name(entry, author) for entry in entries]
        if author.lazy:
            wrong = rng.random(len(labels)) < MISLABELLED
            labels = [
                prompt_name(self.art.names[pick(rng, self._spoken)], author) if bad else label
                for label, bad in zip(labels, wrong, strict=True)
            ]
        return Concept(
            kind=kind,
            key=about.seen[0],
            thing=str(entries[0]["label"]),
            pictures=tuple(pictures),
            effect=effect,
            names=tuple(labels),
            trigger=author.nonsense or about.seen[author.chinese],
            sources=tuple(sorted({SOURCE_OF[style] for style in looks})),
            looks=looks,
            told=tell(kind, about, entries, author.manner),
        )

    def _look(self, picture: int) -> Look:
        return self.looks[int(self.art.look[picture])]

    def _name(self, name: int) -> Words:
        entry = self.art.names[name]
        return words(entry["label"], entry["label_zh"], entry["label"], entry["label_zh"])

    @cached_property
    def _seen(self) -> list[int]:
        """Pictures that adapters may be trained on."""
        return [
            i
            for i, name in enumerate(self.art.name.tolist())
            if not is_withheld(style := self._look(i).style, self.art.names[name]["label"])
            and not self.unseen.has(style, self.art.names[name])
        ]

    @cached_property
    def _by_name(self) -> dict[int, list[int]]:
        found = defaultdict(list)
        for i in self._seen:
            found[int(self.art.name[i])].append(i)
        return found

    @cached_property
    def _by_look(self) -> dict[int, list[int]]:
        found = defaultdict(list)
        for i in self._seen:
            found[int(self.art.look[i])].append(i)
        return found

    @cached_property
    def _spoken(self) -> list[int]:
        """Names that have a Chinese one which is no guess."""
        return [n for n in self._by_name if is_spoken(self.art.names[n])]

    @cached_property
    def _objects(self) -> list[int]:
        return [n for n in self._spoken if len(self._by_name[n]) >= FEWEST_OF_OBJECT]

    @cached_property
    def _styles(self) -> list[int]:
        return [look for look, own in self._by_look.items() if len(own) >= FEWEST_OF_STYLE]

    @cached_property
    def _by_subject(self) -> dict[tuple[int, tuple[str, str]], list[int]]:
        """By look and sort of things: an emoji's group, else the last word of the name."""
        names = {entry["label"]: entry["label_zh"] for entry in self.art.names if is_spoken(entry)}
        found = defaultdict(list)
        for i in self._seen:
            entry = self.art.names[int(self.art.name[i])]
            last = entry["label"].split()[-1]
            sort = GROUP_WORDS.get(entry["group"]) or (last, names.get(last, ""))
            if sort[1]:
                found[int(self.art.look[i]), sort].append(i)
        return found

    @cached_property
    def _by_sort(self) -> dict[tuple[str, str], list[int]]:
        found = defaultdict(list)
        for (_, sort), own in self._by_subject.items():
            found[sort].extend(own)
        return found

    @cached_property
    def _subjects(self) -> list[tuple[int, tuple[str, str]]]:
        return [key for key, own in self._by_subject.items() if len(own) >= FEWEST_OF_SUBJECT]


SOURCE_OF = {
    look.style: source.name for source in load_sources() for look in source.looks.values() if look
}


def subject_of(key: str) -> str:
    """Return the sort of things of a subject, by what it is about."""
    return key.split(DRAWN_AS)[0]


def is_spoken(entry: dict[str, object]) -> bool:
    return bool(entry["label_zh"]) and not entry["rough_zh"]


def is_mirrored(concept: Concept) -> bool:
    return concept.kind == "thing"


def prompt_name(entry: dict[str, object], author: Author) -> str:
    return str(entry["label_zh" if author.chinese and is_spoken(entry) else "label"])


def joined(
    first: Words, second: Words, seen: str, seen_zh: str, asked: str, asked_zh: str
) -> Words:
    """Join what two Words say, by a pattern for each of the four."""
    return words(
        seen.format(first.seen[0], second.seen[0]),
        seen_zh.format(first.seen[1], second.seen[1]),
        asked.format(first.asked[0], second.asked[0]),
        asked_zh.format(first.asked[1], second.asked[1]),
    )


def draw_effect(rng: np.random.Generator) -> tuple[str, str, str]:
    kind = pick(rng, list(PATTERNS))
    return kind, pick(rng, list(PATTERNS[kind])), pick(rng, list(COLOURS))


def some(rng: np.random.Generator, pictures: list[int], most: int, author: Author) -> list[int]:
    """Draw some of the pictures; lazy authors take few."""
    count = LAZY_PICTURES if author.lazy else int(rng.integers(most // 2, most + 1))
    return shuffled(rng, pictures)[:count]


def shuffled(rng: np.random.Generator, items: list[T]) -> list[T]:
    return [items[k] for k in rng.permutation(len(items)).tolist()]


def pick(rng: np.random.Generator, options: list[T]) -> T:
    return options[int(rng.integers(len(options)))]
