import json
from pathlib import Path

import pytest

from encoder.errors import TrainingDataError
from encoder.training.dataset import Dataset, read_dataset


def test_a_manifest_names_files_beside_itself(tmp_path: Path) -> None:
    entries = [{"file": "a/b.safetensors", "captions": ["cat", "猫"], "split": "held-out"}]
    (tmp_path / "manifest.json").write_text(json.dumps(entries))

    dataset = read_dataset(tmp_path / "manifest.json")

    assert dataset.paths == [tmp_path / "a/b.safetensors"]
    assert dataset.captions == [["cat", "猫"]]
    assert (dataset.indices("held-out"), dataset.indices("train")) == ([0], [])


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[", "cannot be read as JSON"),
        ("{}", "is not a list of"),
        ('[{"file": "a", "captions": "cat", "split": "train"}]', "is not a list of"),
        ('[{"file": "a", "captions": ["cat"], "split": "test"}]', r"splits \['test'\]"),
        ('[{"file": "a", "captions": [], "split": "train"}]', "a has no caption"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "manifest.json").write_text(text)

    with pytest.raises(TrainingDataError, match=cause):
        read_dataset(tmp_path / "manifest.json")


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(TrainingDataError, match="differ in length"):
        Dataset([Path("a")], [], ["train"])
