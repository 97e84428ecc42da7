"""What a file is called, for people."""

from pathlib import Path

import pytest

from crawler.sources.folder.names import display_name
from tests.crawler.builders import write_adapter
from tests.crawler.sources.folder.builders import list_records


@pytest.mark.parametrize(
    ("path", "output_name", "name"),
    [
        ("loras/Char_Game_Name", "", "Char_Game_Name"),
        ("loras/ink-style/pytorch_lora_weights", "", "ink-style"),
        ("loras/ink-style/adapter_model", "", "ink-style"),
        ("ink-style/pytorch_lora_weights", "", "ink-style"),
        ("loras/ink-style/checkpoint-500/pytorch_lora_weights", "", "ink-style step 500"),
        ("ink-style/checkpoint-1500/adapter_model", "", "ink-style step 1500"),
        ("loras/run/epoch_03/pytorch_lora_weights", "", "run epoch 3"),
        ("checkpoint-500/pytorch_lora_weights", "", "checkpoint-500"),
        ("loras/ink", "Ink style", "Ink style"),
        ("loras/ink-000004", "ink", "ink epoch 4"),
        ("loras/ink-step00000500", "ink", "ink step 500"),
        ("loras/other-000004", "ink", "ink"),
        ("loras/ink/ink_000000500", "ink", "ink step 500"),
        ("loras/ink/ink_2024", "ink", "ink"),
        ("loras/moonlit-fox", "last", "moonlit-fox"),
        ("loras/moonlit-fox/last", "last", "moonlit-fox"),
    ],
)
def test_a_file_is_called_by_what_says_most(path: str, output_name: str, name: str) -> None:
    assert display_name(path.split("/"), output_name) == name


def test_the_folder_that_was_given_lends_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "my-ink"
    write_adapter(folder / "pytorch_lora_weights.safetensors", 1)
    write_adapter(folder / "checkpoint-250" / "pytorch_lora_weights.safetensors", 2)

    names = {record.name for record in list_records(folder)}

    assert names == {"my-ink", "my-ink step 250"}


def test_the_epochs_of_a_run_that_has_a_title_are_told_apart(tmp_path: Path) -> None:
    run = {"modelspec.title": "Ink Wash", "ss_output_name": "ink"}
    for seed, stem in enumerate(["ink", "ink-000004", "ink-step00000500"]):
        write_adapter(tmp_path / f"{stem}.safetensors", seed, run)

    names = {record.name for record in list_records(tmp_path)}

    assert names == {"Ink Wash", "Ink Wash epoch 4", "Ink Wash step 500"}
