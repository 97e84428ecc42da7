"""Adapters found by what people paste: an address, a hash, a file's name; with words beside it."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from registry.db.models import Adapter, File
from registry.retrieval import pointed
from registry.retrieval.filters import Filters
from registry.retrieval.given_values import Paging
from registry.retrieval.pointed import find_pointed
from registry.retrieval.statements import ask
from registry.service import Registry
from registry.text.word_segmentation import segment
from tests.builders import add_adapter
from tests.registry.conftest import embed

ANY = Filters()
SHA, BODY = "68bbf6e368" + "ab" * 27, "12cd34ef56ab" + "cd" * 26


def add(session: Session, name: str = "Red Fox", **what_matters: Any) -> Adapter:
    """Add an adapter that its name and its embedded name tell of."""
    return add_adapter(session, name=name, words=segment(name), **what_matters)


def add_civitai(session: Session, repo: str, version: str, **what_matters: Any) -> Adapter:
    site = {"hub": "civitai", "endpoint": "https://civitai.red"}
    return add(session, repo=repo, version=version, **site, **what_matters)


def found(session: Session, asked: str, filters: Filters = ANY) -> list[int]:
    told = find_pointed(session, asked, filters=filters)
    return [] if told is None else list(told.ids)


def rest(session: Session, asked: str) -> str:
    told = find_pointed(session, asked, filters=ANY)
    assert told is not None
    return told.rest


def test_civitais_pages_and_versions(session: Session) -> None:
    """All versions where none is said; a number of another hub is nothing."""
    one = add_civitai(session, "50004", "17", downloads=2)
    two = add_civitai(session, "50004", "18", downloads=1)
    add_civitai(session, "50005", "19")
    add(session, repo="50004", version="17")

    assert found(session, "https://civitai.com/models/50004") == [one.id, two.id]
    for asked in (
        "https://civitai.com/models/50004?modelVersionId=18",
        "urn:air:flux1:lora:civitai:50004@18",
        "https://civitai.com/api/download/models/18?type=Model",
        "https://civarchive.com/models/50004?modelVersionId=18",
    ):
        assert found(session, asked) == [two.id]
    assert found(session, "https://civitai.com/models/50004?modelVersionId=99") == []
    assert found(session, "https://civitai.com/models/99") == []


def test_repositories_and_their_files(session: Session) -> None:
    hub = {"hub": "huggingface", "endpoint": "https://huggingface.co", "repo": "ann/foxes"}
    one = add(session, **hub, file_name="a/fox.safetensors", downloads=2)
    two = add(session, **hub, file_name="b/fox.safetensors", downloads=1)
    other = add(session, repo="ann/foxes")

    page = "https://huggingface.co/ann/foxes"
    assert found(session, page) == [one.id, two.id]
    assert found(session, f"{page}/resolve/main/b/fox.safetensors") == [two.id]
    assert found(session, f"{page}/blob/main/gone.safetensors") == [one.id, two.id]
    assert found(session, "https://www.modelscope.cn/models/ann/foxes/files") == [other.id]
    assert found(session, "ann/foxes") == [one.id, two.id, other.id]
    assert found(session, "ann/foxes/b/fox.safetensors") == [two.id]
    assert found(session, "neither/nor and/or") == []


def test_a_hash_among_words(session: Session) -> None:
    """The whole sha256, AutoV2, and AutoV3, which is of the tensors."""
    fox = add(session, file_sha256=SHA)
    session.get_one(File, SHA).body_sha256 = BODY
    add(session, "neon")

    for digits in (SHA, SHA[:10], SHA[:10].upper(), BODY, BODY[:12]):
        assert found(session, f"neon {digits}") == [fox.id]
        assert rest(session, f"{digits}, neon") == "neon"
    assert rest(session, f'neon Lora hashes: "x: {SHA[:10]}"') == "neon"
    assert found(session, f"neon {SHA[:7]}") == []
    assert found(session, "neon 68bbf6e369") == []


def test_a_hash_as_hubs_and_people_write_it(session: Session) -> None:
    fox = add(session, file_sha256=SHA)
    short = SHA[:10]

    labelled = (f"sha256:{SHA}", f"SHA-256: {SHA}", f"AutoV2 {short}", f"Lora hash: {SHA[:12]}")
    quoted = (f'"{short}"', f"'{short}'", f"“{short}”", f'"AutoV2": "{short}"', f"`{short}`")
    marked = (f"#{short}", f"0x{short}", f"AutoV2:#{short}", f"AutoV2:0x{short.upper()}")
    exported = (f"Fire-Fox-{SHA[:8]}", f"“Fire-Fox-{SHA[:8]}.safetensors”")
    for asked in (SHA[:8], *labelled, *quoted, *marked, *exported):
        assert found(session, asked) == [fox.id]
    assert found(session, SHA[:7]) == []


def test_the_file_that_a_path_or_a_name_is_of(session: Session) -> None:
    fox = add(session, file_name="chars/0446.safetensors")
    long = add(session, file_name="my Red Fox.safetensors")
    ink = add(session, file_name="【国风】水墨.safetensors")
    add(session, "0446", file_name="other.safetensors")

    for path in ("0446.safetensors", "models/Lora/0446.safetensors", "C:\\loras\\0446.safetensors"):
        assert found(session, path) == [fox.id]
        assert rest(session, f"neon {path}") == "neon"
    for asked in ("D:\\loras\\【国风】水墨.safetensors", "有没有【国风】水墨.safetensors"):
        assert found(session, asked) == [ink.id]
    assert found(session, "neon my red fox.safetensors") == [long.id]
    assert rest(session, "neon my red fox.safetensors") == "neon"
    assert found(session, "neon 0446") == []


def test_where_nothing_else_is_said_the_name_of_what_was_found_is_asked_for(
    session: Session,
) -> None:
    add(session, file_sha256=SHA)

    for asked in (SHA, f'"{SHA[:10]}"', f"AutoV2: {SHA[:10]}", f"Fox-{SHA[:8]}.safetensors"):
        assert rest(session, asked) == "Red Fox"


@pytest.mark.parametrize(
    "asked",
    [
        "something like {}",
        "find me more loras like {} please",
        "anything similar to {}? thanks",
        "in the same style as {}",
        "求类似 {} 的lora",
        "有没有类似{}的？谢谢",
        "和 {} 一样的风格",
    ],
)
def test_words_that_only_point_rank_nothing(session: Session, asked: str) -> None:
    add(session, file_sha256=SHA)

    assert rest(session, asked.format(f'"{SHA[:10]}"')) == "Red Fox"


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ("like {}, but neon", "like , but neon"),
        ("求类似 {} 的霓虹", "求类似 的霓虹"),
        ("the style of a fox {}", "the style of a fox"),
    ],
)
def test_what_says_more_ranks_the_rest(session: Session, asked: str, left: str) -> None:
    add(session, file_sha256=SHA)

    assert rest(session, asked.format(f'"{SHA[:10]}"')) == left


def test_several_are_found_in_the_order_of_their_kinds(session: Session) -> None:
    hashed = add(session, file_sha256=SHA)
    page = add(session, repo="ann/foxes")

    asked = f"{SHA[:10]} ann/foxes neon"

    assert found(session, asked) == [page.id, hashed.id]
    assert rest(session, asked) == "neon"


def test_only_what_is_ready_and_passes_filters_is_found(session: Session) -> None:
    add(session, repo="ann/foxes", state="gone", file_sha256=SHA)
    bob = add(session, repo="ann/foxes", author="bob", file_name="b.safetensors")
    add(session, repo="ann/foxes", author="cat", file_name="c.safetensors")

    assert found(session, "ann/foxes", Filters(authors=("bob",))) == [bob.id]
    assert found(session, SHA) == []


def test_a_question_that_points_nowhere_costs_no_statement(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(pointed, "prepare", lambda *_, **__: asked.append("prepare"))

    for question in ("a red fox, in the style of ink", "20250101 neon", "deadbeef effect", "猫"):
        assert find_pointed(session, question, filters=ANY) is None
    assert asked == []


@pytest.mark.parametrize(
    ("question", "index"),
    [
        ("https://civitai.com/models/50004", "uq_adapters_hub_endpoint_repo_version_file_name"),
        ("https://civitai.com/api/download/models/17", "ix_adapters_version"),
        (SHA[:10], "ix_files_body_sha256"),
        ("0446.safetensors", "ix_adapters_file_stem"),
    ],
)
def test_each_kind_is_found_by_an_index(
    session: Session, question: str, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million adapters are not to be gone through for an address."""
    plans: list[str] = []

    def explained(session: Session, statement: str, values: dict[str, Any]) -> Any:
        plans.extend(row[0] for row in ask(session, f"EXPLAIN {statement}", values)())
        return ask(session, statement, values)

    monkeypatch.setattr(pointed, "ask", explained)
    # Of a few rows, or of as many as nobody counted, any way through them is short.
    for place in range(300):
        add_adapter(
            session,
            hub="civitai",
            repo=str(60_000 + place),
            version=str(1_000 + place),
            file_name=f"{place}.safetensors",
        )
    session.execute(text("ANALYZE adapters, listings, files"))
    session.execute(text("SET LOCAL enable_seqscan = off"))
    session.execute(text("SET LOCAL enable_bitmapscan = off"))

    find_pointed(session, question, filters=ANY)

    plan = "\n".join(plans)
    assert index in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize(
    ("asked", "second"),
    [
        ("https://civitai.com/models/50004?modelVersionId=17", "fox"),
        ("urn:air:flux1:lora:civitai:50004@17", "fox"),
        (SHA[:10], "fox"),
        (f"a castle {SHA[:10]}", "castle"),
        (f'castle, Lora hashes: "0446: {SHA[:10]}"', "castle"),
        ("D:\\loras\\0446.safetensors castle", "castle"),
    ],
)
def test_what_is_pointed_to_comes_first_and_the_rest_is_ranked(
    registry: Registry, asked: str, second: str
) -> None:
    """Also where another is called just as what is left of the question."""
    with registry.sessions.begin() as session:
        pointed_to = add_civitai(
            session, "50004", "17", file_sha256=SHA, file_name="0446.safetensors"
        )
        others = {
            name: add(session, name, downloads=9, captions=[(name, embed(registry, name))])
            for name in ("castle", "fox")
        }

    first, then, *_ = registry.search(asked).results

    assert (first.card.id, first.hit.exact, first.hit.score) == (pointed_to.id, True, 1.0)
    assert (then.card.id, then.hit.exact) == (others[second].id, False)


def test_pages_go_on_behind_what_is_pointed_to(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        pointed_to = add(session, file_sha256=SHA)
        castles = {add(session, f"castle {n}").id for n in range(5)}

    seen, cursor = [], None
    while True:
        page = registry.search(f"castle {SHA[:10]}", paging=Paging(limit=2, cursor=cursor))
        seen += [result.card.id for result in page.results]
        cursor = page.next
        if cursor is None:
            break

    assert seen[0] == pointed_to.id
    assert sorted(seen[1:]) == sorted(castles)


def test_it_is_found_whatever_base_model_is_asked_for(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        pointed_to = add(session, repo="ann/foxes", base_model="sdxl-1.0")
        add(session, "castle")

    page = registry.search("https://modelscope.cn/models/ann/foxes", Filters(("demo-flux-tiny",)))

    assert page.results[0].card.id == pointed_to.id
    assert page.results[0].hit.elsewhere


@pytest.mark.parametrize(
    "asked", ["https://hf.co/a/b/resolve/main/%00%ff.safetensors", "/" * 10_000, "a/b " * 2_500]
)
def test_hostile_questions_are_answered(registry: Registry, asked: str) -> None:
    with registry.sessions.begin() as session:
        add(session)

    assert registry.search(asked).results is not None
