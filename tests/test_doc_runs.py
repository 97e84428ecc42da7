"""What the pages tell people to type does what they say, page by page and in its order.

Commands run in this process on a part of the demo, and ask a served registry where they ask one.
`doc_rules.py` says what is not run. Where JSON is shown below an answer, the answer has that shape.
"""

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from benchmarks.comfyui.server import comfyui
from demo.hub import modelscope
from demo.paths import DATA
from demo.run import demo_settings, write_environment
from encoder.base_models.families import find_family
from encoder.threads import threads
from encoder.weight_encoders.checkpoint import load_encoder, save_encoder
from registry.api.app import create_app
from registry.config import Settings
from registry.fusion.exports.adapters import exported
from registry.fusion.png import save_png
from registry.service import Registry
from tests.databases import database_beside
from tests.doc_pages import DOCS, PROJECT, SHELL, Code, code_of, commands_in, lines_in
from tests.doc_rules import (
    DRAWING,
    FEW_STEPS,
    NAMES,
    NOT_RUN,
    PLACEHOLDERS,
    reason_not_to_run,
)
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.api.routes.test_exports import recipe_of
from tests.registry.api.servers import served
from tests.registry.cli.runner import run, run_well
from tests.registry.conftest import close_python
from tests.registry.fusion.test_sending import FILES

# Of the demo's adapters, those that the pages' prompts name among them.
ADAPTERS = 46
DRAWN = ("Red Heart LoRA", "Pink Sunburst Background Objects LoRA")
# Its layers are those of FLUX.1 and of Qwen-Image: somebody has to say whose it is.
UNCLEAR = ADAPTERS + 1
# What curl says of a body that nothing is said of.
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ADDRESS = re.compile(r"(?:http://)?(?:localhost|127\.0\.0\.1|gpu-box):8000\b")


@dataclass
class Shell:
    """What pages are typed into: a folder, and an address where a registry is served."""

    folder: Path
    address: str
    asked: str = ""
    answer: Any = None
    failures: dict[str, str] = field(default_factory=dict)

    def run_page(self, page: Path) -> None:
        names: dict[str, object] = {"token": None}
        for code in code_of(page):
            here = replace(code, text=ADDRESS.sub(self.address, code.text))
            if here.language == "python":
                exec(compile(here.text, page.name, "exec"), names)
            elif here.language == "json" and self.answer is not None:
                self.compare(json.loads(here.text))
            elif here.inline or here.language in SHELL:
                self.run_lines(here)
            if not here.inline and here.language not in SHELL:
                self.answer = None

    def run_lines(self, code: Code) -> None:
        for line in lines_in(code):
            for words in commands_in(line):
                if is_to_run(words, code.inline):
                    self.run(words)

    def run(self, words: list[str]) -> None:
        words = [self._meant(word) for word in words]
        if words[0] == "curl":
            self.answer, fault = ask(words[1:])
        else:
            more = FEW_STEPS if words[1] in DRAWING and "--recipe" not in words else ()
            result = run(*words[1:], *more)
            fault = result.output if result.exit_code else ""
        self.asked = " ".join(words)
        if fault:
            self.failures[self.asked] = fault

    def compare(self, shown: Any) -> None:
        """Hold what is shown against the last answer, which may be of an error."""
        assert lacks(shown, self.answer) == []
        if shown.get("status") == self.answer.get("status"):
            self.failures.pop(self.asked, None)

    def _meant(self, word: str) -> str:
        return PLACEHOLDERS.get(word, word.replace("/backups", f"{self.folder}/backups"))


def is_to_run(words: list[str], inline: bool) -> bool:
    if words[0] not in ("autolora", "curl") or len(words) == 1:
        return False
    return reason_not_to_run(words) is None and not (inline and words[1:] in [[n] for n in NAMES])


def ask(words: list[str]) -> tuple[Any, str]:
    """Do what curl would do; return the answer, if it is JSON, and what was wrong."""
    parser = argparse.ArgumentParser("curl")
    for flag in ("-s", "-N", "-f", "-i"):
        parser.add_argument(flag, action="store_true")
    for option in ("-X", "-d", "-o", "--data-binary"):
        parser.add_argument(option)
    for option in ("-H", "-F"):
        parser.add_argument(option, action="append", default=[])
    parser.add_argument("url")
    asked = parser.parse_args(words)
    file = asked.data_binary and Path(asked.data_binary.removeprefix("@"))
    content = file.read_bytes() if file else asked.d
    forms = [part.split("=@") for part in asked.F]
    answer = httpx.request(
        asked.X or ("POST" if content or forms else "GET"),
        asked.url,
        content=content,
        files={name: Path(path).read_bytes() for name, path in forms} or None,
        headers=(FORM if content else {}) | dict(header.split(": ", 1) for header in asked.H),
        timeout=60,
    )
    if asked.o and answer.is_success:
        Path(asked.o).write_bytes(answer.content)
    is_json = "json" in answer.headers.get("content-type", "")
    return answer.json() if is_json else None, "" if answer.is_success else answer.text


def lacks(shown: Any, answer: Any, at: str = "") -> list[str]:
    """Return what is shown of an answer and is not there, or is of another kind."""
    if isinstance(shown, dict) and isinstance(answer, dict):
        named = [f"{at}.{name}" for name in shown.keys() - answer.keys()]
        both = sorted(shown.keys() & answer.keys())
        return named + [
            fault for name in both for fault in lacks(shown[name], answer[name], f"{at}.{name}")
        ]
    if isinstance(shown, list) and isinstance(answer, list):
        return lacks(shown[0], answer[0], f"{at}[0]") if shown and answer else []
    same = isinstance(answer, int | float) if isinstance(shown, float) else None
    return [] if same or type(shown) is type(answer) else [at]


@pytest.fixture(scope="module")
def shell(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A registry of some of the demo's adapters and a folder, found by the environment."""
    folder = tmp_path_factory.mktemp("docs")
    with (
        threads(1),
        pytest.MonkeyPatch.context() as patch,
        database_beside(database_url, "docs") as database,
        modelscope.serve(DATA / "zoo") as hub,
    ):
        for name in Settings.model_fields:
            patch.delenv(f"REGISTRY_{name.upper()}", raising=False)
        patch.chdir(folder)
        set_environment(patch, folder)
        patch.setenv("REGISTRY_DATABASE_URL", database)
        patch.setenv("REGISTRY_MODELSCOPE_ENDPOINT", hub.endpoint)
        hub.entries = some_of(hub.entries)
        run_well("refresh")
        write_adapters(folder)
        run_well("refresh", "--source", "my-loras")
        with Registry(Settings()) as own, served(create_app(own)) as (host, port):
            picture = recipe_of(own, UNCLEAR)
            save_png(Image.new("RGB", (32, 32)), picture, folder / "cat.png")
            with comfyui(FILES | {"loras": [one.file for one in exported(picture)]}) as other:
                patch.setenv("REGISTRY_COMFYUI_URL", other.url)
                yield Shell(folder, f"http://{host}:{port}")
        close_python()


def set_environment(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Set what `. demo/out/env` sets."""
    write_environment(demo_settings(folder / "home", port=8000), folder / "env")
    for line in (folder / "env").read_text().splitlines():
        # The commands here are run in this process.
        if line.startswith("export REGISTRY_"):
            name, value = line.removeprefix("export ").split("=", 1)
            patch.setenv(name, value.strip("'"))


def some_of(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    drawn = [entry for entry in entries if entry["display_name"] in DRAWN]
    others = [entry for entry in entries if entry not in drawn]
    return drawn + others[: ADAPTERS - len(drawn)]


def write_adapters(folder: Path) -> None:
    """Write what a reader has: adapters of one's own, and another encoder."""
    (folder / "my-loras").mkdir()
    flux = find_family("flux.1")
    assert flux is not None
    unclear = make_factors(names=["transformer_blocks.0.attn.to_q"], family=flux)
    write_adapter(folder / "my-loras/query.safetensors", unclear, metadata={})
    shutil.copy(min((DATA / "zoo/adapters").iterdir()), folder / "adapter.safetensors")
    second = replace(load_encoder(DATA / "encoder.safetensors"), name="second")
    save_encoder(second, folder / "encoder.safetensors")


@pytest.mark.parametrize("page", DOCS, ids=[page.name for page in DOCS])
def test_what_a_page_tells_to_type_works(page: Path, shell: Shell) -> None:
    shell.failures.clear()

    shell.run_page(page)

    assert shell.failures == {}


def typed() -> list[list[str]]:
    """Return the words of every line in a block that is for a shell."""
    blocks = [code for page in DOCS for code in code_of(page) if code.language in SHELL]
    return [words for code in blocks for line in lines_in(code) for words in commands_in(line)]


def test_it_is_said_of_every_command_why_it_is_not_run() -> None:
    unknown = [words for words in typed() if not is_to_run(words, inline=False)]

    assert [words for words in unknown if reason_not_to_run(words) is None] == []


def test_reasons_are_needed_and_the_tests_that_they_name_are_there() -> None:
    lines = {
        " ".join(words)
        for page in DOCS
        for code in code_of(page)
        for line in lines_in(code)
        for words in commands_in(line)
    }
    named = {name for why in NOT_RUN.values() for name in re.findall(r"tests/\S+", why)}

    assert [b for b in NOT_RUN if not any(line.startswith(b) for line in lines)] == []
    assert [name for name in sorted(named) if not (PROJECT / name).exists()] == []


def test_what_an_answer_lacks_is_named() -> None:
    shown = {"items": [{"id": 1, "name": "x", "score": 0.5}], "next": None}

    assert lacks(shown, {"items": [{"id": 7, "name": "y", "score": 1}], "next": None}) == []
    assert lacks(shown, {"items": [{"id": "7", "name": "y"}]}) == [
        ".next", ".items[0].score", ".items[0].id",
    ]  # fmt: skip
