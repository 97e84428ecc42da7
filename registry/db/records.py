"""What a hub says of an adapter -> the columns of its row, and back. Nothing is stored here."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from crawler.file_names import path_words
from crawler.records import AdapterRecord, CoverRecord, FileRecord, Stamp
from encoder.base_models.families import find_family
from encoder.base_models.names import UNKNOWN_BASE_MODEL, name_listed
from registry.db.models import File
from registry.text.word_segmentation import segment_places

# PostgreSQL refuses a tsvector of 1 MB; no adapter's words come near this.
MAX_WORDS = 100_000


def record_to_json(record: AdapterRecord) -> dict[str, Any]:
    facts = asdict(record)
    facts["created_at"] = record.created_at.isoformat()
    facts["updated_at"] = record.updated_at.isoformat()
    if record.withheld_until is not None:
        facts["withheld_until"] = record.withheld_until.isoformat()
    for words in ("trigger_words", "tags", "base_model_words"):
        facts[words] = list(facts[words])
    facts["covers"] = list(facts["covers"])
    return facts


def record_from_json(facts: Mapping[str, Any]) -> AdapterRecord:
    until = facts.get("withheld_until")
    changed: dict[str, Any] = {
        "withheld_until": until and datetime.fromisoformat(until),
        "created_at": datetime.fromisoformat(facts["created_at"]),
        "updated_at": datetime.fromisoformat(facts["updated_at"]),
        "trigger_words": tuple(facts["trigger_words"]),
        "tags": tuple(facts["tags"]),
        "base_model_words": tuple(facts["base_model_words"]),
        "file": FileRecord(**facts["file"]),
        "covers": tuple(CoverRecord(**cover) for cover in facts["covers"]),
        "stamp": stamp_from_json(facts.get("stamp")),
    }
    return AdapterRecord(**{**facts, **changed})


def stamp_from_json(facts: Mapping[str, Any] | None) -> Stamp | None:
    return None if facts is None else Stamp(**facts)


def settle(record: AdapterRecord, file: File | None, claimed: str | None = None) -> dict[str, Any]:
    """Columns of `adapters`: the hub's words, corrected by the file's once it was read.

    `claimed` is the base model that a person says it is for.
    """
    trigger_words = list(record.trigger_words)
    base_model = name_listed(record.base_model_words)
    if file is not None and file.verdict is not None:
        trigger_words = trigger_words or list(file.verdict.get("trigger_words", ()))
        ruled_out = file.verdict.get("ruled_out", ())
        base_model = agreed_base_model(base_model, file.base_model, claimed, ruled_out)
    elif claimed is not None:
        base_model = claimed
    places = [
        "\n".join([record.name, *trigger_words]),
        record.author,
        "\n".join([*path_words(record.file.name), *record.tags, record.description]),
    ]
    return {
        "name": record.name,
        "author": record.author,
        "description": record.description,
        "trigger_words": trigger_words,
        "tags": list(record.tags),
        "base_model": base_model,
        "licence": record.licence,
        "mature": record.mature,
        "downloads": record.downloads,
        "hub_created_at": record.created_at,
        "hub_updated_at": record.updated_at,
        "page_url": record.page_url,
        "record": record_to_json(record),
        "words": segment_places(*places)[:MAX_WORDS],
    }


def agreed_base_model(
    listed: str,
    read: str | None,
    claimed: str | None,
    ruled_out: Collection[str],
) -> str:
    """The base model by person, hub and file: the file knows the architecture, they the variant.

    Nobody is believed whose word the file's layers rule out.
    """
    said = [name for name in (claimed, listed) if name and name not in ruled_out]
    if read is None or read == UNKNOWN_BASE_MODEL:
        return next(iter(said), UNKNOWN_BASE_MODEL)
    family = find_family(read)
    kin = (name for name in said if family is not None and find_family(name) is family)
    return next(kin, read)
