"""PEFT's config beside an adapter on a hub, from the request to the strength that is applied."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope import serve
from registry.db.models import File
from registry.refresh.pipeline import Pipeline
from registry.service import Registry
from tests.crawler.builders import add_entry
from tests.encoder.builders import make_factors, write_adapter


def read_from_hub(registry: Registry, folder: Path, config: bytes) -> dict[str, Any]:
    """Return the verdict on an adapter of rank 2 that lies on a hub beside a config."""
    entry = add_entry(folder, "cat", beside={"adapter_config.json": "config"})
    write_adapter(folder / entry["file"], make_factors(1), prefix="base_model.model.")
    (folder / "config").write_bytes(config)
    registry.settings.home.mkdir()
    pipeline = Pipeline(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)
    with serve(folder) as hub, ModelScopeSource(hub.endpoint) as source:
        progress = list(pipeline.refresh(source))
    assert all(step.outcome.ok for step in progress if step.outcome)
    with registry.sessions() as session:
        verdict = session.scalars(select(File)).one().verdict
    assert verdict is not None
    return verdict


def test_alpha_of_a_config_on_the_hub_is_applied(registry: Registry, tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 8}

    verdict = read_from_hub(registry, tmp_path, json.dumps(config).encode())

    assert verdict["alpha"] == "alpha / rank, from adapter_config.json"
    assert (verdict["alphas"], verdict["scales"]) == ([8, 8], [4, 4])
    assert verdict["fusable"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b"", "adapter_config.json"),
        (b"<html>not found</html>", "is no JSON object"),
        (b"[1, 2]", "is no JSON object"),
        (b'{"peft_type": "LORA", "r": 2, "lora_al', "is no JSON object"),
        (b'{"r": 2, "lora_alpha": "strong"}', "gives no usable lora_alpha"),
        (b'{"r": 2, "lora_alpha": 8, "alpha_pattern": []}', ""),
        (b'{"r": 2, "lora_alpha": NaN}', "gives no usable lora_alpha"),
        (b'{"note": "' + b"x" * 1_000_000 + b'", "lora_alpha": "8"}', "gives no usable lora_alpha"),
    ],
    ids=["empty", "page", "list", "cut", "text", "pattern", "nan", "large"],
)
def test_a_config_that_makes_no_sense_is_named_and_not_used(
    registry: Registry, tmp_path: Path, config: bytes, said: str
) -> None:
    verdict = read_from_hub(registry, tmp_path, config)

    if not said:
        assert verdict["scales"] == [4, 4], "no pattern is the default for all"
        return
    assert verdict["scales"] == [1, 1]
    [note] = [reason for reason in verdict["reasons"] if "adapter_config.json" in reason]
    assert said in note
