"""Questions as people ask them, and who is an answer."""

import numpy as np

from benchmarks.search.asked import kinds, literal
from benchmarks.search.world import describe
from demo.concepts import Art, Concept

ENTRY = {"group": "food-drink", "subgroup": "fruit", "subgroup_zh": "水果"}
ART = Art(np.zeros((1, 32, 32, 4), np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64), [ENTRY])


def concept(key: str, **what_matters: object) -> Concept:
    words = (key, key, key)
    facts: dict[str, object] = {"kind": "object", "split": "held-out", "images": (0,)}
    facts |= {"unseen": (), "captions": words, "captions_zh": words, "trigger": f"{key} icon"}
    facts |= {"subject": key, "subject_zh": f"某{key}"}
    return Concept(key=key, **(facts | what_matters))  # type: ignore[arg-type]


WORLD = [
    concept("banana"),
    concept("gold stripes food", kind="texture", effect=("stripes", "gold")),
    concept("red stripes food", kind="texture", effect=("stripes", "red")),
    concept("line fruit", kind="style", style="fluent-line"),
]


def test_a_kind_of_thing_has_all_its_answers() -> None:
    asked = {question.text: question.grades for question in kinds(WORLD, ART, "en")}

    assert asked["stripes"] == {1: 2, 2: 2}
    # Who asks for food means pictures of food rather than a banana, which is food all the same.
    assert asked["food"] == {0: 1, 1: 2, 2: 2, 3: 1}
    assert asked["fruit"] == {0: 1, 3: 2}
    # One adapter alone does this.
    assert "gold" not in asked
    assert "条纹" in {question.text for question in kinds(WORLD, ART, "zh")}


def test_whoever_has_a_word_is_an_answer_to_it() -> None:
    records = describe(WORLD, ["full"] * 4, "en", [0] * 4)

    asked = {(question.kind, question.text): set(question.grades) for question in literal(records)}

    assert asked["name", "stripe"] == {1, 2}
    assert asked["trigger", "banana icon"] == {0}
    assert asked["path", "0003"] == asked["path", "0003.safetensors"] == {3}
    assert asked["author", records[2].author] == {2}
    assert ("name", "lora") not in asked
