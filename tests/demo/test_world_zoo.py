"""The wide zoo's plan, words and adapters."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import save_file

from demo.effects import PATTERNS
from demo.world.adapters import AdapterGroup
from demo.world.art import Art
from demo.world.authors import Author, draw_author
from demo.world.concepts import FIRST_OF_BELIEFS, GROUP, KINDS, Planner, split_of, subject_of
from demo.world.manners import ASKED_EFFECTS, LOOKS, words_of_look
from demo.world.sources import load_looks
from encoder.adapter.lora_file import read
from encoder.base_models.families import Family

AUTHOR = draw_author(np.random.default_rng(1), 0)
UNSEEN = [look for look in load_looks() if look.split in ("validation", "held-out")]
WORDS = ("dog", "cat", "sun", "moon", "car", "ship", "tree", "house", "key", "bell")
CONFIG = {
    "num_layers": 1,
    "num_single_layers": 1,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": 16,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "axes_dims_rope": (4, 6, 6),
}


def small_art() -> Art:
    """Ten names, each once in every look of the held-out sets."""
    looks = [k for k, look in enumerate(load_looks()) if look.split == "held-out"]
    names = [
        {"label": word, "label_zh": f"字{word}", "rough_zh": False, "tags": [], "tags_zh": []}
        | {"group": group, "subgroup": "", "subgroup_zh": ""}
        for word, group in zip(WORDS, ("animals-nature", "objects") * 5, strict=True)
    ]
    pairs = np.array([(look, name) for look in looks for name in range(len(names))])
    rgba = np.zeros((len(pairs), 8, 8, 4), np.uint8)
    return Art(rgba, pairs[:, 0], pairs[:, 1], names)


def test_of_four_groups_three_are_for_training() -> None:
    splits = [split_of(number) for number in range(24)]
    assert (splits.count("train"), splits.count("held-out"), splits.count("validation")) == (
        18,
        4,
        2,
    )


def test_groups_of_beliefs_come_after_all_others() -> None:
    assert split_of(FIRST_OF_BELIEFS - 1) != "beliefs"
    assert split_of(FIRST_OF_BELIEFS) == split_of(FIRST_OF_BELIEFS + 3) == "beliefs"


def test_every_look_from_outside_is_told_and_asked_for_in_other_words() -> None:
    for look in UNSEEN:
        told = words_of_look(look)
        assert told is LOOKS[look.style]
        for seen, asked in zip(told.seen, told.asked, strict=True):
            assert seen != asked


def test_every_effect_can_be_asked_for() -> None:
    assert ASKED_EFFECTS.keys() == {(kind, own) for kind in PATTERNS for own in PATTERNS[kind]}


def test_a_group_is_the_same_whenever_it_is_planned() -> None:
    planner = Planner("held-out", small_art())
    author, concepts = planner.group(3)
    again, same = Planner("held-out", small_art()).group(3)
    assert (author, concepts) == (again, same)
    assert len(concepts) == GROUP
    kinds = [concept.kind for concept in concepts]
    assert {kind: kinds.count(kind) for kind in KINDS} == KINDS


def test_a_thing_is_one_name_in_one_look_and_also_mirrored() -> None:
    planner = Planner("held-out", small_art())
    concept = planner.thing(np.random.default_rng(0), AUTHOR)
    assert len(concept.looks) == len(concept.pictures) == 1
    assert planner.draw(concept).shape == (2, 8, 8, 3)


def test_a_subject_is_a_sort_of_things() -> None:
    planner = Planner("held-out", small_art())
    keys = [planner.subject(np.random.default_rng(k), AUTHOR).key for k in range(8)]
    assert {subject_of(key) for key in keys} <= {sort for sort, _ in planner.sorts}
    assert all(subject_of(key) != key for key in keys)


def test_lazy_authors_take_few_pictures_and_name_some_wrongly() -> None:
    planner = Planner("held-out", small_art())
    lazy = replace(AUTHOR, lazy=True, chinese=False)
    concepts = [planner.object(np.random.default_rng(k), lazy) for k in range(20)]
    assert {len(concept.pictures) for concept in concepts} == {3}
    assert any(name != concept.key for concept in concepts for name in concept.names)


@pytest.mark.parametrize("algorithm", ["lora", "loha", "lokr"])
def test_files_say_what_was_trained(algorithm: str, tmp_path: Path) -> None:
    """Read back as any other adapter's, alpha and all, they change a layer as in training."""
    family = Family.from_config("small", "FluxTransformer2DModel", CONFIG)
    author = replace(AUTHOR, algorithm=algorithm, rank=2, alpha=1.0, layers="attention")
    group = AdapterGroup(FluxTransformer2DModel(**CONFIG), author, 3, seed=0)
    with torch.no_grad():
        for part in group.parameters():
            part.copy_(torch.randn_like(part).half())
    save_file(group.state_dict(1), tmp_path / "a.safetensors")

    weights = read(tmp_path / "a.safetensors", (family,))

    assert weights.layers.keys() == {name for name in family.block_layers if ".attn." in name}
    name, layer = next(iter(weights.layers.items()))
    inputs = torch.eye(family.block_layers[name][1]).repeat(3, 1, 1)
    with torch.no_grad():
        changed = group.change(name, inputs)[1].T
    torch.testing.assert_close(layer.delta(), changed, rtol=1e-2, atol=1e-2)


def test_authors_train_the_layers_they_choose() -> None:
    attention = replace(AUTHOR, layers="attention")
    assert attention.trains("transformer_blocks.0.attn.to_q")
    assert not attention.trains("transformer_blocks.0.ff.net.2")
    assert not replace(AUTHOR, layers="not norms").trains("single_transformer_blocks.1.norm.linear")


def test_scale_is_alpha_by_rank() -> None:
    assert replace(AUTHOR, rank=8, alpha=4.0).scale == 0.5
    assert isinstance(AUTHOR, Author)
