"""Commands that find adapters: results on stdout, notes on stderr."""

import json
import re

import pytest
from sqlalchemy import select, update

from registry.db.models import Caption, Cover, File
from registry.service import Registry
from tests.builders import add_adapter
from tests.registry.cli.runner import add_fox, run, run_badly, run_well
from tests.registry.conftest import embed

pytestmark = pytest.mark.usefixtures("environment")


def test_search_prints_a_table(registry: Registry) -> None:
    """What looks like the terminal library's markup in a name is printed as it is."""
    fox = add_fox(registry)

    printed = run_well("search", "fox")

    assert f"{fox}  [red]Fox[/red]" in printed
    assert "1.00 #1" in printed


def test_several_words_are_one_question(registry: Registry) -> None:
    """Nobody quotes them."""
    fox = add_fox(registry)

    answer = json.loads(run_well("search", "a", "red", "fox", "--limit", "1", "--json"))

    assert (answer["text"], answer["results"][0]["adapter"]["id"]) == ("a red fox", fox)
    assert str(fox) in run_well("choose", "a", "fox").split()


def test_a_list_of_all_says_how_many_there_are(registry: Registry) -> None:
    add_fox(registry)

    assert "1 adapter\n" in run("search", "").stderr
    assert "1 adapter\n" not in run("search", "fox").stderr


def test_what_is_alike_is_sorted_without_what_is_not(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for n, text in enumerate(
            ["a fox", "a red fox", "a train", *(f"{n} of all" for n in range(9))]
        ):
            captions = [(text, embed(registry, text))]
            add_adapter(session, name=f"style {n}", captions=captions)
        liked = session.scalars(select(Cover.adapter_id).order_by(Cover.adapter_id)).first()

    by_score = json.loads(run_well("search", "--like", str(liked), "--limit", "100", "--json"))
    command = ["search", "--like", str(liked), "--sort", "name"]
    by_name = json.loads(run_well(*command, "--json"))

    bands = [result["band"] for result in by_score["results"]]
    fitting = [band for band in bands if band != "probably not"]
    assert 0 < len(fitting) < len(bands)
    assert {result["band"] for result in by_name["results"]} == set(fitting)
    assert len(by_name["results"]) == len(fitting)
    assert "the first of these" not in run_well(*command)


def test_search_without_words_lists_all_that_filters_let_through(registry: Registry) -> None:
    fox = add_fox(registry)
    with registry.sessions.begin() as session:
        add_adapter(session, name="Dragon", author="ann")

    assert "[red]Fox[/red]" in run_well("search")
    printed = run_well("search", "--author", "ann")
    assert "Dragon" in printed
    assert str(fox) not in printed.split()


def test_a_narrow_terminal_shortens_names_but_no_numbers(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other commands take the id, and scores cut short mislead."""
    monkeypatch.setenv("COLUMNS", "80")
    with registry.sessions.begin() as session:
        fox = embed(registry, "a fox")
        own = add_adapter(
            session,
            name="fox " * 20,
            words="fox",
            trigger_words=["fox " * 20],
            captions=[("a fox", fox)],
        ).id

    (line,) = [part for part in run_well("search", "fox").splitlines() if "#1" in part]

    first, *rest = line.split()
    assert first == str(own)
    # Captions and words.
    assert rest[-1] == rest[-3] == "#1"


def test_names_take_the_room_that_other_columns_leave(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    name = "a fox made of watercolour paint"
    with registry.sessions.begin() as session:
        add_adapter(session, name=name, author="ann")
        add_adapter(session, name="another fox", author="bob", base_model="sdxl-1.0")

    assert name in run_well("search", "a fox made of watercolour paint")


def test_bytes_that_are_no_text_are_searched_for_all_the_same(registry: Registry) -> None:
    """As a shell hands them on."""
    add_fox(registry)

    assert "[red]Fox[/red]" in run_well("search", "\udcff fox")
    assert "no adapter has the author" in run_badly("search", "fox", "--author", "\udcff")


def test_search_prints_json(registry: Registry) -> None:
    fox = add_fox(registry)

    answer = json.loads(run_well("search", "狐狸", "--json", "--tag", "animal"))

    assert [result["adapter"]["id"] for result in answer["results"]] == [fox]
    assert answer["results"][0]["signals"]["captions"] > 0.5


def test_notes_stay_off_stdout(registry: Registry) -> None:
    """A pipe must not get advice amid the results."""
    add_fox(registry)

    result = run("search", "fox")

    assert "Weights were not compared" in result.stderr
    assert "Weights were not compared" not in result.stdout


def test_show(registry: Registry) -> None:
    fox = add_fox(registry)

    assert "[red]Fox[/red]" in run_well("show", str(fox))
    assert json.loads(run_well("show", str(fox), "--json"))["tags"] == ["animal"]
    assert "there is no adapter 999" in run_badly("show", "999")


def test_every_caption_of_a_cover_is_shown(registry: Registry) -> None:
    """They are what search goes by; a prompt that became one stands there once."""
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, captions=[("a fox", embed(registry, "a fox"))])
        cover = session.scalars(select(Cover).where(Cover.adapter_id == adapter.id)).one()
        session.add(Caption(cover_id=cover.id, text="ein [b]Fuchs[/b]", source="vlm", kind="short"))
        adapter_id = adapter.id

    printed = run_well("show", str(adapter_id))

    assert printed.count("a fox") == 1
    assert "  ein [b]Fuchs[/b]\n" in printed


def test_what_a_file_says_is_told_in_words(registry: Registry) -> None:
    verdict = {
        "format": "peft",
        "names": "diffusers",
        "base_model": "sd-1.5",
        "confidence": "certain",
        "evidence": ["all 52 layers exist in sd-1.5 with these shapes"],
        "kinds": {"LoRA": 52, "bias": 1},
        "ranks": [2, 4, 8],
        "alpha": "alpha / rank, from a tensor of each layer",
        "scales": [0.5, 1.0],
        "missing": 3,
        "unmatched": [f"odd_{n}" for n in range(20)],
        "loadable": True,
        "fusable": False,
        "reasons": ["fusion would lose a bias"],
    }
    sha256 = "0123456789abcdef" * 4
    with registry.sessions.begin() as session:
        adapter_id = add_adapter(session, file_sha256=sha256).id
        session.execute(update(File).values(verdict=verdict))

    printed = run_well("show", str(adapter_id))

    lines = [" ".join(line.split()) for line in printed.splitlines()]
    # Whole, to be copied.
    assert f"sha256 {sha256}" in lines
    assert "kinds 52 LoRA, 1 bias" in lines
    assert "ranks 2 to 8" in lines
    assert "scale 0.5 to 1 (alpha / rank, from a tensor of each layer)" in lines
    assert "left alone 3 layers more of the base's" in lines
    assert "fusable no" in lines
    assert "because fusion would lose a bias" in lines
    assert "and 12 more" in printed
    assert "{" not in printed


def test_what_is_no_id_is_told_so() -> None:
    for given in ("fox", "0", "-1", "1.5", "１", str(2**63)):
        said = run_badly("show", "--", given)

        assert said == f"autolora: {given!r} is no adapter's id; `autolora search` and " + (
            "`autolora list` show them.\n"
        )


def test_what_is_here_is_listed_by_pages(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        ids = [
            add_adapter(session, name=f"[red]{n}", file_name=f"sub/{n}.safetensors").id
            for n in range(5)
        ]
        add_adapter(session, name="bad", state="refused", refusal="is a web page")

    first = run("list", "--limit", "3")
    [more] = re.findall(r"More: the same with (.+)", first.stderr)
    rest = run("list", "--limit", "3", *more.split())

    assert [line.split()[0] for line in first.stdout.splitlines()[1:]] == [
        str(n) for n in ids[:1:-1]
    ]
    assert "[red]4" in first.stdout
    assert "sub/4.safetensors" in first.stdout
    assert "5 adapters" in first.stderr
    assert more == "--page 2"
    assert [line.split()[0] for line in rest.stdout.splitlines()[1:]] == [
        str(n) for n in ids[1::-1]
    ]
    assert "More" not in rest.stderr
    by_name = run_well("list", "--sort", "name").splitlines()[1:]
    assert [line.split()[0] for line in by_name] == [str(n) for n in ids]
    assert "one of name, newest" in run_badly("list", "--sort", "odd")
    # Nobody has any.
    assert "trigger words" not in first.stdout
    assert "is a web page" in run_well("list", "--state", "refused")
    assert run_well("list", "--state", "gone") == "No adapter here is gone.\n"
    assert "one of listed, ready, refused, gone" in run_badly("list", "--state", "odd")


def test_a_program_gets_the_list_and_where_to_go_on(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        ids = [
            add_adapter(session, author=author, record={"strength": 0.7}).id
            for author in ("ann", "bob", "ann")
        ]

    page = json.loads(run_well("list", "--author", "ann", "--limit", "1", "--json"))
    last = json.loads(run_well("list", "--author", "ann", "--cursor", page["next"], "--json"))

    assert ([item["id"] for item in page["items"]], page["total"]) == ([ids[2]], 2)
    assert ([item["id"] for item in last["items"]], last["next"]) == ([ids[0]], None)
    assert (last["items"][0]["state"], last["items"][0]["strength"]) == ("ready", 0.7)
    elsewhere = run_badly("list", "--sort", "name", "--cursor", page["next"])
    assert "of another question" in elsewhere


def test_pages_are_told_by_number_wherever_a_list_goes_on(registry: Registry) -> None:
    """Nobody copies a cursor: its text is for programs."""
    with registry.sessions.begin() as session:
        fox = embed(registry, "a fox")
        for n in range(5):
            add_adapter(session, name=f"fox {n}", words="fox", captions=[("a fox", fox)])
    command = ["search", "fox", "--limit", "2"]

    pages = [run(*command, "--page", str(n)) for n in (1, 2, 3)]

    shown = [re.findall(r"^ +(\d+) +fox", page.stdout, re.MULTILINE) for page in pages]
    assert [len(ids) for ids in shown] == [2, 2, 1]
    assert len({id_ for ids in shown for id_ in ids}) == 5
    hints = [re.findall("More: the same with (.+)", page.stderr) for page in pages]
    assert hints == [["--page 2"], ["--page 3"], []]
    assert json.loads(run_well(*command, "--page", "3", "--json"))["next"] is None
    assert "no page 4: the last one is 3" in run_badly(*command, "--page", "4")


def test_that_nothing_fits_is_said_of_the_whole_list(registry: Registry) -> None:
    """What follows what fits does not fit; that says nothing of the list."""
    with registry.sessions.begin() as session:
        for number in range(2):
            fox = embed(registry, "a fox in the snow")
            add_adapter(session, name=f"x{number}", captions=[("a fox in the snow", fox)])
    add_fox(registry)

    first, second = (run_well("search", "fox", "--limit", "1", "--page", n) for n in "12")
    nonsense = run_well("search", "asdfqwer")

    assert "Nothing" not in first + second
    assert "Nothing fits 'asdfqwer'" in nonsense


def test_what_perhaps_fits_is_not_said_to_fit_nothing(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, name="Ghibli skies")

    answer = json.loads(run_well("search", "“gibli”", "--json"))

    assert [result["band"] for result in answer["results"]] == ["perhaps"]
    assert "Nothing surely fits '“gibli”'" in run_well("search", "“gibli”")


def test_who_goes_on_by_a_cursor_is_told_the_next(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for _ in range(3):
            add_adapter(session)
    cursor = json.loads(run_well("list", "--limit", "1", "--json"))["next"]

    second = run("list", "--limit", "1", "--cursor", cursor)

    [option] = re.findall("More: the same with (--cursor .+)", second.stderr)
    assert "1 " in run_well("list", "--limit", "1", *option.split())
    assert "give one of them" in run_badly("list", "--page", "2", "--cursor", cursor)


def test_the_preferred_strength_is_shown(registry: Registry) -> None:
    record = {"strength": 0.7, "negative_prompt": "blurry"}
    with registry.sessions.begin() as session:
        adapter_id = add_adapter(session, record=record).id

    printed = run_well("show", str(adapter_id)).splitlines()

    assert "strength 0.7" in [" ".join(line.split()) for line in printed]
    assert "negative prompt blurry" in [" ".join(line.split()) for line in printed]


def test_like_and_unlike(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        one, two, three = (
            add_adapter(session, name=f"style {text}", captions=[(text, embed(registry, text))]).id
            for text in ("a red fox", "a fox in snow", "a fast car")
        )

    answer = json.loads(run_well("search", "--like", str(one), "--json"))
    assert [result["adapter"]["id"] for result in answer["results"]] == [two, three]

    printed = run_well("search", "car", "--like", str(one), "--unlike", str(two))
    assert "style a fast car" in printed
    assert "style a fox in snow" not in printed

    assert "given both" in run_badly("search", "--like", str(one), "--unlike", str(one))
    assert "no adapter 999" in run_badly("search", "--like", "999")


@pytest.mark.parametrize("number", ["5", "1.5", " 200 "])
def test_a_size_without_a_unit_is_not_taken_for_bytes(registry: Registry, number: str) -> None:
    """Megabytes are meant; nothing would be smaller, and everything larger."""
    for command in (["list"], ["search", "fox"], ["facets"]):
        said = run_badly(*command, "--min-size", number)
        assert f"write {number.strip()}MB, or {number.strip()}B" in said


def test_bytes_are_taken_where_they_are_meant(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session)  # of 1,000 bytes

    def listed(least: str) -> int:
        return len(json.loads(run_well("list", "--json", "--min-size", least))["items"])

    counts = {"0": 1, "5B": 1, "1001B": 0, "5MB": 0, "5 MB": 0, "200000000": 0}
    assert {written: listed(written) for written in counts} == counts


def test_filters_have_the_same_names_everywhere(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, author="Ann", base_model="pony", licence="MIT", trigger_words=["ohwx"])
        add_adapter(session, author="bob", base_model="sd-1.5")

    def listed(*options: str) -> list[str]:
        items = json.loads(run_well("list", "--json", *options))["items"]
        return sorted(item["author"] for item in items)

    assert listed("--author", "ann", "--author", "BOB") == ["Ann", "bob"]
    assert listed("--base-model", "Pony") == listed("--family", "sdxl") == ["Ann"]
    assert listed("--commercial") == listed("--trigger-words") == ["Ann"]
    assert listed("--no-commercial") == listed("--base-model", "SD1.5") == ["bob"]
    assert listed("--max-size", "0.5kB") == []
    assert "write a size" in run_badly("list", "--max-size", "big")
    assert "write a whole number" in run_badly("list", "--min-rank", str(2**31))
    said = run_well("list", "--max-size", "0.5kB")
    assert said == "No adapter here that is ready has what the filters ask for.\n"
    assert "one of any, hide, only" in run_badly("list", "--mature", "odd")
    assert "There are: ann, bob." in run_badly("list", "--author", "amn")


def test_facets_are_counted_in_a_terminal(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for author in ("ann", "ann", "[red]bob"):
            add_adapter(session, author=author)

    printed = run_well("facets")
    counted = json.loads(run_well("facets", "--json", "--author", "ann"))

    assert "ann (2) · [red]bob (1)" in printed
    assert "3 adapters" in printed
    assert counted["total"] == 2


def test_a_question_is_sorted(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        agile, brown = (
            add_adapter(session, name=name, words=f"fox {name}").id for name in ("Agile", "Brown")
        )

    printed = run_well("search", "fox", "--sort", "newest")

    # Below the table a line says what was found.
    rows = [line.split()[0] for line in printed.splitlines()[1:3]]
    assert rows == [str(brown), str(agile)]
    assert "fits:" not in printed
    assert "one of relevance, name" in run_badly("search", "fox", "--sort", "odd")
