"""Parameters that may be given once, and were given twice.

FastAPI takes the last of them, and whoever asks never learns which one counted.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError


async def refuse_repeated(request: Request) -> None:
    """A dependency that refuses a parameter given more than once where a route takes one value.

    Names that a route does not know are for the route to refuse.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    repeated = {name: count for name, count in counts.items() if count > 1}
    # Nearly nobody repeats one; only then is it looked up which may be.
    if not repeated:
        return
    single = _single_valued(request.app.openapi(), request.scope["route"].path)
    faults = [
        {"type": "repeated", "loc": ("query", name), "msg": f"came {count} times; give it once"}
        for name, count in repeated.items()
        if name in single
    ]
    if faults:
        raise RequestValidationError(faults)


def _single_valued(document: Mapping[str, Any], path: str) -> set[str]:
    """Return the parameters of an address's routes that take one value, by our own description."""
    return {
        parameter["name"]
        for operation in document["paths"].get(path, {}).values()
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query" and not _takes_several(parameter["schema"])
    }


def _takes_several(schema: Mapping[str, Any]) -> bool:
    return any(kind.get("type") == "array" for kind in schema.get("anyOf", [schema]))
