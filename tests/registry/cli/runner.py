"""Commands as tests run them: in this process, on the registry that the environment names."""

import json
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner, Result

from registry.cli.app import app
from registry.service import Registry
from tests.builders import add_adapter
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.conftest import embed


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def run_well(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_badly(*words: str) -> str:
    """Run what must fail; return its one line."""
    result = run(*words)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("autolora: ")
    return result.stderr


def add_fox(registry: Registry) -> int:
    with registry.sessions.begin() as session:
        fox = embed(registry, "a fox")
        return add_adapter(
            session, name="[red]Fox[/red]", words="fox", captions=[("a fox", fox)], tags=["animal"]
        ).id


def write_folder(folder: Path, count: int) -> Path:
    """Write adapters with sidecars and covers, as people keep them."""
    folder.mkdir()
    for seed in range(count):
        write_adapter(folder / f"fox{seed}.safetensors", make_factors(seed))
        facts = {"name": f"Fox {seed}", "prompt": "a red fox", "trigger_words": [f"fx{seed}"]}
        (folder / f"fox{seed}.json").write_text(json.dumps(facts))
        Image.new("RGB", (32, 32), (40 * seed, 90, 10)).save(folder / f"fox{seed}.png")
    return folder
