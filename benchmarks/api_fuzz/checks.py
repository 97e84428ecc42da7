"""A check of ours for schemathesis, instead of one of its own that asks too much.

Its own wants whatever the description allows to be accepted. No description can tell a cursor
that this server wrote from another text, or which base models there are: to refuse those is
right. What must not be is that the request itself is said to be invalid.
"""

from typing import Any

import schemathesis

INVALID = "urn:autolora:problem:invalid-request"


@schemathesis.check
def what_is_described_is_understood(
    _: schemathesis.CheckContext, response: schemathesis.Response, case: "schemathesis.Case[Any]"
) -> None:
    is_described = case.meta is not None and case.meta.generation.mode.is_positive
    if is_described and response.status_code == 422:
        problem = response.json()
        assert problem["type"] != INVALID, problem["detail"]
