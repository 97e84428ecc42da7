"""`autolora token`: made, listed and revoked."""

import json

import pytest

from registry.service import Registry
from tests.registry.cli.runner import run_badly, run_well


@pytest.mark.usefixtures("environment")
def test_a_token_is_shown_once_and_opens_nothing_when_revoked(registry: Registry) -> None:
    assert "There is no token" in run_well("token", "list")
    token = run_well("token", "create", "ann's [laptop]", "--scope", "read", "--scope", "fuse")
    opened = registry.opened_by(token=token.strip())
    listed = run_well("token", "list")
    facts = json.loads(run_well("token", "list", "--json"))

    assert opened is not None
    assert opened.scopes == ("fuse", "read")
    assert listed == "1 ann's [laptop]: fuse, read; valid\n"
    assert token.strip() not in json.dumps(facts)

    run_well("token", "revoke", "1")

    assert registry.opened_by(token=token.strip()) is None
    assert "; revoked 2" in run_well("token", "list")
    assert "no token 1 is valid" in run_badly("token", "revoke", "1")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("name", ["", " \t", "\u200b\x1b"])
def test_a_token_has_a_name_by_which_it_is_found_to_be_revoked(
    registry: Registry, name: str
) -> None:
    assert "a token needs a name" in run_badly("token", "create", name)
    assert registry.tokens() == []


@pytest.mark.usefixtures("environment")
def test_a_tokens_name_is_one_line(registry: Registry) -> None:
    """A list has a line for each; a shell hands on bytes that are no text as lone surrogates."""
    run_well("token", "create", " ann's\nlaptop\udcff ")

    assert [token.name for token in registry.tokens()] == ["ann's laptop"]
