"""Ask the API everything that its own description allows, and what it forbids (schemathesis).

    python -m benchmarks.api_fuzz [--cases 250] [-- options of `schemathesis run`]

Ends with 0 where no check failed: no error of the server's own, no answer that the description
does not know, nothing accepted that it forbids. The registry is a small one of its own.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from registry.api.app import create_app
from registry.config import Settings
from registry.service import Registry
from tests.registry.api.servers import served
from tests.registry.cli.runner import write_folder

# More than are removed meanwhile: what asks an index of nothing is told that it is not ready (503).
ADAPTERS = 120
ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=250, help="of each operation")
    parser.add_argument("options", nargs="*", help="for schemathesis, after --")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder, Registry(Settings(home=Path(folder))) as registry:
        registry.warm_up()
        source = write_folder(Path(folder) / "foxes", ADAPTERS)
        refresh = [sys.executable, "-m", "registry", "refresh", "--source", str(source)]
        subprocess.run(refresh, check=True, env=os.environ | {"REGISTRY_HOME": folder})
        with served(create_app(registry)) as (host, port):
            return ask(f"http://{host}:{port}", asked.cases, *asked.options)


def ask(url: str, cases: int, *options: str) -> int:
    """Have schemathesis ask each operation up to `cases` times a phase; return its exit code."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)]
    command += [
        "run",
        f"{url}/v1/openapi.json",
        "--checks",
        "all",
        "--exclude-checks",
        "positive_data_acceptance",
    ]
    command += ["--max-examples", str(cases), "--generation-deterministic"]
    command += ["--request-timeout", "60", *options]
    hooks = {"SCHEMATHESIS_HOOKS": "benchmarks.api_fuzz.checks"}
    # From where the hooks' module is found.
    return subprocess.run(command, check=False, env=os.environ | hooks, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
