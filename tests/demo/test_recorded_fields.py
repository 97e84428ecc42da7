"""Loopback hubs say what real ones were recorded to say: the same fields, of the same types.

What was recorded [1, 2, 3, 4] is told here by field and type alone. A loopback hub may leave fields
out that no crawl reads; it may not make up others, nor say them otherwise.

- [1] Civitai: UniversalProgressions/flutter_civitai_box, test/data/*_endpoint_response.json
- [2] Hugging Face: Platano78/black-wire-forge, tests/fixtures/hf_qwen_loras.json, and what
  huggingface_hub's ModelInfo and RepoFile read
- [3] CivArchive: willmiao/ComfyUI-Lora-Manager, tests/services/test_civarchive_client.py
- [4] ModelScope: the fields that third parties read, as there are no public recordings
"""

import json
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from demo.hub import civarchive, civitai, hugging_face
from demo.hub.facts import HubFacts
from tests.crawler.builders import add_entry

TEXT, NUMBER, FLAG, NULL = "text", "number", "flag", "null"
# Each field with the types that were seen, or an object's or a list's own fields.
IMAGE = {
    "id": {NUMBER}, "url": {TEXT}, "nsfwLevel": {NUMBER}, "width": {NUMBER}, "height": {NUMBER},
    "hash": {TEXT}, "type": {TEXT}, "hasMeta": {FLAG}, "hasPositivePrompt": {FLAG},
    "onSite": {FLAG}, "remixOfId": {NULL, NUMBER},
}  # fmt: skip
STATS = {
    "downloadCount": {NUMBER, NULL}, "favoriteCount": {NUMBER}, "thumbsUpCount": {NUMBER},
    "thumbsDownCount": {NUMBER}, "commentCount": {NUMBER}, "ratingCount": {NUMBER},
    "rating": {NUMBER}, "tippedAmountCount": {NUMBER},
}  # fmt: skip
FILE = {
    "id": {NUMBER}, "sizeKB": {NUMBER}, "name": {TEXT}, "type": {TEXT},
    "pickleScanResult": {TEXT}, "pickleScanMessage": {TEXT, NULL}, "virusScanResult": {TEXT},
    "virusScanMessage": {TEXT, NULL}, "scannedAt": {TEXT},
    "metadata": {"format": {TEXT}, "size": {TEXT, NULL}, "fp": {TEXT, NULL}},
    "hashes": {key: {TEXT} for key in ("AutoV1", "AutoV2", "AutoV3", "SHA256", "CRC32", "BLAKE3")},
    "downloadUrl": {TEXT}, "primary": {FLAG},
}  # fmt: skip
VERSION = {
    "id": {NUMBER}, "index": {NUMBER}, "name": {TEXT}, "baseModel": {TEXT},
    "baseModelType": {TEXT}, "createdAt": {TEXT}, "publishedAt": {TEXT}, "status": {TEXT},
    "availability": {TEXT}, "nsfwLevel": {NUMBER}, "description": {TEXT, NULL},
    "trainedWords": [{TEXT}], "covered": {FLAG}, "stats": STATS, "supportsGeneration": {FLAG},
    "files": [FILE], "images": [IMAGE], "downloadUrl": {TEXT},
}  # fmt: skip
MODEL = {
    "id": {NUMBER}, "name": {TEXT}, "description": {TEXT, NULL}, "allowNoCredit": {FLAG},
    "allowCommercialUse": [{TEXT}], "allowDerivatives": {FLAG}, "allowDifferentLicense": {FLAG},
    "type": {TEXT}, "minor": {FLAG}, "poi": {FLAG}, "nsfw": {FLAG}, "nsfwLevel": {NUMBER},
    "availability": {TEXT}, "cosmetic": {NULL}, "supportsGeneration": {FLAG}, "stats": STATS,
    "creator": {"username": {TEXT}, "image": {TEXT, NULL}}, "tags": [{TEXT}],
    "modelVersions": [VERSION],
}  # fmt: skip
VERSION_ALONE = VERSION | {
    "modelId": {NUMBER}, "updatedAt": {TEXT}, "trainingStatus": {NULL, TEXT},
    "earlyAccessEndsAt": {NULL, TEXT}, "earlyAccessConfig": {NULL}, "uploadType": {TEXT},
    "usageControl": {TEXT}, "air": {TEXT},
    "model": {"name": {TEXT}, "type": {TEXT}, "nsfw": {FLAG}, "poi": {FLAG}},
    "images": [
        IMAGE
        | {
            "meta": {"prompt": {TEXT}, "steps": {NUMBER}, "sampler": {TEXT}, "seed": {NUMBER}},
            "availability": {TEXT}, "minor": {FLAG}, "poi": {FLAG},
        }
    ],
}  # fmt: skip
LISTING = {
    "items": [MODEL],
    "metadata": {
        "currentPage": {NUMBER}, "pageSize": {NUMBER}, "nextCursor": {TEXT}, "nextPage": {TEXT},
    },
}  # fmt: skip
LFS = {"sha256": {TEXT}, "size": {NUMBER}, "pointerSize": {NUMBER}}
CARD = {
    "base_model": [{TEXT}, TEXT, NULL], "instance_prompt": {TEXT, NULL}, "license": {TEXT},
    "tags": [{TEXT}], "language": [{TEXT}], "library_name": {TEXT}, "pipeline_tag": {TEXT},
    "widget": [{"text": {TEXT}, "output": {"url": {TEXT}}}],
}  # fmt: skip
REPO_LISTED = {
    "_id": {TEXT}, "id": {TEXT}, "downloads": {NUMBER}, "lastModified": {TEXT}, "tags": [{TEXT}],
    "private": {FLAG},
}  # fmt: skip
REPO = REPO_LISTED | {
    "modelId": {TEXT}, "author": {TEXT}, "sha": {TEXT}, "createdAt": {TEXT},
    "gated": {FLAG, TEXT}, "disabled": {FLAG}, "likes": {NUMBER}, "library_name": {TEXT},
    "pipeline_tag": {TEXT}, "cardData": CARD, "spaces": [{TEXT}], "usedStorage": {NUMBER},
    "siblings": [{"rfilename": {TEXT}, "size": {NUMBER}, "blobId": {TEXT}, "lfs": LFS}],
}  # fmt: skip
TREE = {
    "type": {TEXT}, "oid": {TEXT}, "size": {NUMBER}, "path": {TEXT},
    "lfs": {"oid": {TEXT}, "size": {NUMBER}, "pointerSize": {NUMBER}},
}  # fmt: skip
ARCHIVED_VERSION = {
    "id": {NUMBER}, "modelId": {NUMBER}, "name": {TEXT}, "baseModel": {TEXT},
    "description": {TEXT}, "downloadCount": {NUMBER}, "ratingCount": {NUMBER}, "rating": {NUMBER},
    "nsfw_level": {NUMBER}, "trigger": [{TEXT}],
    "files": [
        {
            "id": {NUMBER}, "name": {TEXT}, "type": {TEXT}, "sizeKB": {NUMBER},
            "downloadUrl": {TEXT}, "sha256": {TEXT}, "is_primary": {FLAG},
            "mirrors": [{"filename": {TEXT}, "url": {TEXT}, "deletedAt": {TEXT, NULL}}],
        }
    ],
    "images": [{"id": {NUMBER}, "url": {TEXT}, "nsfwLevel": {NUMBER}}],
}  # fmt: skip
ARCHIVED = {
    "data": {
        "id": {NUMBER}, "name": {TEXT}, "type": {TEXT}, "description": {TEXT}, "is_nsfw": {FLAG},
        "nsfw_level": {NUMBER}, "tags": [{TEXT}], "creator_username": {TEXT},
        "creator_name": {TEXT}, "creator_url": {TEXT}, "version": ARCHIVED_VERSION,
        "versions": [{"id": {NUMBER}, "name": {TEXT}}],
        # Instead of the rest, where a file's model is all that is known.
        "files": [{"model_id": {NUMBER}, "model_version_id": {NUMBER}, "source": {TEXT}}],
    }
}  # fmt: skip
ANSWERS: list[tuple[Any, str, Any]] = [
    (civitai.serve, "api/v1/models?limit=1&nsfw=true", LISTING),
    (civitai.serve, "api/v1/models/10", MODEL),
    (civitai.serve, "api/v1/model-versions/100", VERSION_ALONE),
    (
        hugging_face.serve,
        "api/models?filter=diffusers&expand=lastModified&expand=tags&expand=downloads&expand=private",
        [REPO_LISTED],
    ),
    (hugging_face.serve, "api/models/alice/cat?blobs=true", REPO),
    (hugging_face.serve, "api/models/alice/cat/tree/main?recursive=true", [TREE]),
]


def differences(said: Any, recorded: Any, where: str = "answer") -> list[str]:
    """Return where an answer has a field or a type that was not recorded."""
    if isinstance(said, dict) and isinstance(recorded, dict):
        return [
            difference
            for key, value in said.items()
            for difference in (
                differences(value, recorded[key], f"{where}.{key}")
                if key in recorded
                else [f"{where}.{key} is not known"]
            )
        ]
    if isinstance(said, list) and isinstance(recorded, list):
        return [d for item in said for d in differences(item, recorded[0], f"{where}[]")]
    kinds: dict[type, str] = {str: TEXT, bool: FLAG, int: NUMBER, float: NUMBER, type(None): NULL}
    told = kinds.get(type(said), type(said).__name__)
    known = isinstance(recorded, set | list) and told in recorded
    # What is an object may be missing, too.
    return [] if known or said is None else [f"{where} is {told}, not {recorded}"]


def ask(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


@pytest.mark.parametrize(("serve", "path", "recorded"), ANSWERS, ids=[a[1] for a in ANSWERS])
def test_answers_have_the_recorded_fields_and_types(
    serve: Callable[[Path], AbstractContextManager[HubFacts]],
    path: str,
    recorded: Any,
    tmp_path: Path,
) -> None:
    add_entry(tmp_path, "cat", description="")
    add_entry(tmp_path, "dog")
    with serve(tmp_path) as hub:
        answer = ask(f"{hub.endpoint}/{path}")

    assert answer
    assert differences(answer, recorded) == []


def test_an_archive_answers_with_the_recorded_fields_and_types(tmp_path: Path) -> None:
    add_entry(tmp_path, "cat")
    add_entry(tmp_path, "dog", by_model=True)
    with civarchive.serve(tmp_path) as hub:
        hashes = [hub.sha256(entry["file"]) for entry in hub.entries]
        paths = [*(f"sha256/{sha256}" for sha256 in hashes), "models/11?modelVersionId=101"]
        answers = [ask(f"{hub.endpoint}/api/{path}") for path in paths]

    assert [differences(answer, ARCHIVED) for answer in answers] == [[], [], []]
    assert ["version" in answer["data"] for answer in answers] == [True, False, True]


def test_what_was_not_recorded_is_noticed() -> None:
    assert differences({"id": "1"}, {"id": {NUMBER}}) == ["answer.id is text, not {'number'}"]
    assert differences({"x": 1}, {"id": {NUMBER}}) == ["answer.x is not known"]
    assert differences([{"id": True}], [{"id": {NUMBER}}]) == [
        "answer[].id is flag, not {'number'}"
    ]
