"""What ships of the wide zoo: small files of all kinds, sets and authors alike."""

from pathlib import Path
from typing import Any

import pytest

from demo.world.shipped import MOST_BYTES, SHIPPED, choose, licence_of, named_after

KINDS = ("object", "thing", "style", "subject", "effect", "mixture")


def rows(folder: Path) -> list[dict[str, Any]]:
    """Three authors' adapters, of which every tenth is too large and the last are trained on."""
    found = []
    for number in range(90):
        path = folder / f"{number}.safetensors"
        path.write_bytes(b"0" * (MOST_BYTES + 1 if number % 10 == 0 else 10))
        found.append(
            {
                "file": path.name,
                "split": "train" if number >= 80 else "held-out",
                "kind": KINDS[number % 6],
                "sources": [("bi", "solar", "maki")[number % 3]],
                "author": {"name": f"author-{number // 30}"},
            }
        )
    return found


def test_small_ones_that_were_kept_are_chosen_of_every_kind_as_often(tmp_path: Path) -> None:
    every = rows(tmp_path)

    chosen = choose(every, tmp_path)

    assert len(chosen) == SHIPPED
    assert {row["split"] for row in chosen} == {"held-out"}
    assert all((tmp_path / row["file"]).stat().st_size <= MOST_BYTES for row in chosen)
    counts = [sum(row["kind"] == kind for row in chosen) for kind in KINDS]
    assert counts == [SHIPPED // 6] * 6
    assert len({row["author"]["name"] for row in chosen}) == 3
    assert chosen == choose(every, tmp_path), "the same each time"


def test_an_adapter_of_several_sets_has_the_most_demanding_licence() -> None:
    assert licence_of(("maki", "solar")) == "CC-BY-4.0"
    assert licence_of(("maki", "bi")) == "MIT"
    assert licence_of(("maki",)) == "CC0-1.0"


@pytest.mark.parametrize(
    ("title", "name"),
    [("Bone LoRA", "bone-lora"), ("lora_v6_final", "lora-v6-final"), ("彩色圆形里的扁平图", "")],
)
def test_repositories_are_named_after_titles_in_latin_letters(title: str, name: str) -> None:
    assert named_after(title) == name
