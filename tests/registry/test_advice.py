"""Errors advise who reads them what they can do."""

from registry.advice import for_http, for_page, for_terminal
from registry.errors import AdapterNotFoundError, AdapterNotReadyError


def test_a_command_is_a_route_over_http_and_a_page_in_a_browser() -> None:
    gone, bare = str(AdapterNotFoundError(7)), str(AdapterNotReadyError("fox", 7))

    assert for_http(gone) == "there is no adapter 7. `GET /v1/adapters` lists the ones here."
    assert for_http(bare).endswith("`GET /v1/adapters/7` says why.")
    assert for_page(for_http(gone)).endswith("The start page lists the ones here.")
    assert for_page(for_http(bare)).endswith("; its page says why.")


def test_a_terminal_reads_commands_again() -> None:
    for error in (AdapterNotFoundError(7), AdapterNotReadyError("fox", 7)):
        assert for_terminal(for_http(str(error))) == str(error)
