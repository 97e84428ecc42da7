"""What is stored of a record, and what it says of the base model once its file was read."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from crawler.records import AdapterRecord, CoverRecord, FileRecord, Stamp
from registry.db.models import File
from registry.db.records import record_from_json, record_to_json, settle

DAY = datetime(2025, 1, 1, tzinfo=UTC)


def make_record(*base_model_words: str) -> AdapterRecord:
    return AdapterRecord(
        hub="modelscope",
        repo="alice/cat",
        version="1",
        name="cat",
        author="alice",
        description="Draws a cat.",
        trigger_words=("cat",),
        tags=("animal", "猫"),
        base_model_words=base_model_words,
        licence=None,
        mature=None,
        downloads=3,
        created_at=DAY,
        updated_at=DAY,
        file=FileRecord("cat.safetensors", 5, "a" * 64),
        covers=(CoverRecord("https://example.org/1.png", "a cat"),),
        page_url="https://example.org/cat",
    )


def test_a_stored_record_comes_back_as_it_was() -> None:
    record = replace(
        make_record("black-forest-labs/FLUX.1-dev@master", "FLUX_1"),
        strength=0.7,
        negative_prompt="blurry",
        # Times in nanoseconds are more than floating point holds.
        stamp=Stamp(5, 1_764_000_000_123_456_789, 1_764_000_000_123_456_790, 2**63 + 1, "ab"),
    )

    stored = json.loads(json.dumps(record_to_json(record)))

    assert record_from_json(stored) == record


@pytest.mark.parametrize(
    ("words", "read", "base_model"),
    [
        (("alice/merge", "FLUX_1"), None, "flux.1-dev"),
        (("alice/merge",), None, "unknown"),
        # The file knows the architecture, the hub the variant.
        (("Illustrious",), "sdxl-1.0", "illustrious"),
        (("Illustrious",), "flux.1", "flux.1"),
        (("alice/merge",), "sd-1.5", "sd-1.5"),
        (("SD 1.5",), "unknown", "sd-1.5"),
    ],
)
def test_the_base_model_is_what_hub_and_file_agree_on(
    words: tuple[str, ...], read: str | None, base_model: str
) -> None:
    file = File(sha256="a" * 64, size=5, base_model=read, verdict={}) if read else None

    assert settle(make_record(*words), file)["base_model"] == base_model


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("chars/Char_Game_Name.safetensors", "char chargamename char game name animal"),
        ("ink/pytorch_lora_weights.safetensors", "ink animal"),
    ],
)
def test_the_parts_of_a_path_are_words_unless_libraries_put_them(path: str, words: str) -> None:
    record = replace(make_record(), file=FileRecord(path, 5, None))

    of_name, of_author, others = settle(record, None)["words"].split("\n")

    assert (of_name, of_author) == ("cat cat", "alice alice")
    assert others.startswith(words)
