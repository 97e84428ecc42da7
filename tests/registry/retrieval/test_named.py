"""Adapters found by what a picture calls them."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from crawler.pictures.adapters import NamedAdapter
from registry.db.models import File
from registry.retrieval.filters import Filters
from registry.retrieval.named import find_named
from tests.builders import add_adapter

SHA, BODY = "ab" * 32, "cd" * 32


def found(session: Session, *named: NamedAdapter, filters: Filters = Filters()) -> list[str]:  # noqa: B008
    return [f"{match.by} {match.adapter_id}" for match in find_named(session, named, filters)]


@pytest.mark.parametrize("hash_", [SHA, SHA[:10], BODY, BODY[:12], SHA[:8]])
def test_every_hash_that_programs_write(session: Session, hash_: str) -> None:
    """The whole sha256, AutoV2, the body's, AutoV3, and the eight digits of our exports."""
    adapter = add_adapter(session, file_sha256=SHA)
    session.get_one(File, SHA).body_sha256 = BODY
    add_adapter(session)

    assert found(session, NamedAdapter("other", (hash_,))) == [f"hash {adapter.id}"]


@pytest.mark.parametrize(
    "name", ["Ink Style", "ink_v2", "INK_V2.safetensors", "styles\\ink_v2.safetensors", "a/ink_v2"]
)
def test_the_name_of_the_adapter_or_of_its_file(session: Session, name: str) -> None:
    adapter = add_adapter(session, name="Ink Style", file_name="loras/Ink_v2.safetensors")
    add_adapter(session, name="Ink Style 2", file_name="loras/Ink_v2_copy.safetensors")

    assert found(session, NamedAdapter(name)) == [f"name {adapter.id}"]


def test_a_hash_is_believed_before_a_name(session: Session) -> None:
    """Many adapters are called `style`."""
    wanted = add_adapter(session, file_sha256=SHA, name="retitled")
    add_adapter(session, name="style")

    assert found(session, NamedAdapter("style", (SHA[:10],))) == [f"hash {wanted.id}"]


def test_a_hash_that_nothing_has_leaves_the_name(session: Session) -> None:
    """The same adapter saved again has another hash."""
    adapter = add_adapter(session, name="style")

    assert found(session, NamedAdapter("style", ("99" * 6,))) == [f"name {adapter.id}"]


def test_generic_file_names_name_nothing(session: Session) -> None:
    add_adapter(session, file_name="pytorch_lora_weights.safetensors")

    assert found(session, NamedAdapter("pytorch_lora_weights.safetensors")) == []


def test_our_exports_end_names_with_a_hash(session: Session) -> None:
    adapter = add_adapter(session, file_sha256=SHA, name="Red Heart")

    assert found(session, NamedAdapter(f"Red-Heart-{SHA[:8]}")) == [f"hash {adapter.id}"]


def test_civitais_versions(session: Session) -> None:
    adapter = add_adapter(session, hub="civitai", version="22")
    add_adapter(session, hub="modelscope", version="22")

    assert found(session, NamedAdapter("", version="22")) == [f"version {adapter.id}"]


def test_filters_hold_and_only_ready_adapters_are_found(session: Session) -> None:
    add_adapter(session, name="ink", base_model="sdxl-1.0")
    add_adapter(session, name="ink", state="gone")
    tiny = add_adapter(session, name="ink")

    tiny_only = Filters(("demo-flux-tiny",))

    assert found(session, NamedAdapter("ink"), filters=tiny_only) == [f"name {tiny.id}"]


def test_names_are_found_in_the_order_of_their_mention(session: Session) -> None:
    one, two = add_adapter(session, name="one"), add_adapter(session, name="two")

    assert found(session, NamedAdapter("two"), NamedAdapter("?"), NamedAdapter("one")) == [
        f"name {two.id}", f"name {one.id}",
    ]  # fmt: skip


def test_file_names_are_found_by_their_index(session: Session) -> None:
    session.execute(text("SET LOCAL enable_seqscan = off"))
    plan = session.scalars(
        text(
            r"EXPLAIN SELECT id FROM adapters WHERE "
            r"lower(regexp_replace(file_name, '^.*/|\.[^./]*$', '', 'g')) = 'ink'"
        )
    ).all()

    assert "ix_adapters_file_stem" in "\n".join(plan)
