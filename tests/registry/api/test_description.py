"""A few of the cases that `python -m benchmarks.api_fuzz` has thousands of."""

from benchmarks.api_fuzz.__main__ import ask
from registry.api.app import create_app
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.api.servers import served


def test_the_api_does_as_it_describes_itself(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, words="fox")
    with served(create_app(registry)) as (host, port):
        options = ["--phases", "fuzzing", "--include-path-regex", "^/v1/(search|adapters|fuse)$"]
        code = ask(f"http://{host}:{port}", 1, *options)

    assert code == 0
