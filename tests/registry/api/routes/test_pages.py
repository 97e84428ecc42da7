"""The page, as a browser gets it."""

import re
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from registry.api.pages.render import SIZE_PATTERN
from registry.api.pages.texts import PAGES, TEXTS
from registry.db.models import File
from registry.retrieval.given_values import SIZE
from registry.service import Registry
from tests.builders import LONG_AGO, add_adapter
from tests.registry.api.conftest import add_cover
from tests.registry.conftest import embed

HOSTILE = "<script>alert(1)</script>"
ATTRIBUTE = '"\' onmouseover=alert(1) x="'


class Tags(HTMLParser):
    """The tags of a page as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts = 0
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script" and "src" not in dict(attrs)  # ours have addresses
        self.attributes += [(name, value or "") for name, value in attrs]


def get_page(client: TestClient, url: str, **headers: str) -> str:
    answer = client.get(url, headers={"Accept": "text/html", **headers})
    assert answer.status_code == 200, answer.text
    return answer.text


def test_hostile_text_is_shown_as_text(client: TestClient, registry: Registry) -> None:
    """Names, tags and prompts come from strangers."""
    with registry.sessions.begin() as session:
        adapter = add_adapter(
            session,
            name=HOSTILE,
            author=ATTRIBUTE,
            description=HOSTILE,
            trigger_words=[ATTRIBUTE, HOSTILE],
            tags=[HOSTILE, ATTRIBUTE],
            licence=HOSTILE,
            file_name=HOSTILE,
            page_url="javascript:alert(1)",
            words="fox",
            captions=[(HOSTILE, [1.0] * 512)],
        )

    for url in (
        "/",
        f"/?q={HOSTILE}&author=",
        f"/?q=fox&author={ATTRIBUTE}",
        f"/adapters/{adapter.id}",
        f"/fuse?adapter={adapter.id}&prompt={HOSTILE}",
    ):
        tags = Tags(get_page(client, url))
        assert tags.scripts == 0
        assert not [name for name, _ in tags.attributes if name.startswith("on")]
        assert not [value for _, value in tags.attributes if value.startswith("javascript:")]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://modelscope.cn/models/a/b", True),
        ("http://127.0.0.1:9/a", False),
        ("data:text/html,x", False),
        ("https://", False),
        ("//evil", False),
        ("https://[", False),
    ],
)
def test_only_https_pages_are_linked(
    client: TestClient, registry: Registry, url: str, shown: bool
) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, page_url=url)

    assert (f'href="{url}"' in get_page(client, f"/adapters/{adapter.id}")) is shown


@pytest.mark.parametrize(("state", "is_offered"), [("stored", True), ("dropped", False)])
def test_a_file_that_is_not_kept_is_not_offered(
    client: TestClient, registry: Registry, state: str, is_offered: bool
) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session)
        session.execute(update(File).values(state=state))

    page = get_page(client, f"/adapters/{adapter.id}")

    # The browser is left to show why there is none, if so: it would save the reason as the file.
    assert (f'href="/v1/adapters/{adapter.id}/file">Download' in page) is is_offered
    assert ("is not kept here: it is where it is listed" in page) is not is_offered


@pytest.mark.parametrize("claimed_by", [None, "somebody"])
def test_a_claim_of_whoever_gave_no_name_is_told_in_the_language_of_the_page(
    client: TestClient, registry: Registry, claimed_by: str | None
) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(
            session, claimed_base_model="pony", claimed_by=claimed_by, claimed_at=LONG_AGO
        )

    page = f"/adapters/{adapter.id}"
    assert "<p>Somebody says: pony." in get_page(client, page)
    assert "<p>有人指定：pony。" in get_page(client, f"{page}?lang=zh")


def test_nothing_inline_and_nothing_from_elsewhere(client: TestClient, registry: Registry) -> None:
    """The policy forbids both; a template that needs them would break in the browser only."""
    adapter = add_cover(registry)

    for url in ("/", "/?q=red", f"/adapters/{adapter.id}", "/fuse"):
        answer = client.get(url)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"\sstyle=|<style|\son\w+=|<script>", answer.text)
        assert not re.search(r"(src|href)=\"(https?:)?//(?!example\.org)", answer.text)
        for static in re.findall(r"\"(/static/[^\"]+)\"", answer.text):
            assert client.get(static).status_code == 200


def test_results_show_every_signal(client: TestClient, registry: Registry) -> None:
    add_cover(registry)

    page = get_page(client, "/?q=red")

    for label in ("Weights", "Meaning", "Words", "exact match", "Fuse selected"):
        assert label in page
    # Half an answer says so.
    assert "Weights were not compared" in page


def test_the_language_follows_the_browser_and_the_choice(client: TestClient) -> None:
    assert "Find LoRAs" in get_page(client, "/")
    assert "按效果查找" in get_page(client, "/", **{"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"})
    assert "按效果查找" in get_page(client, "/?lang=zh")
    # Remembered.
    assert "按效果查找" in get_page(client, "/", **{"Accept-Language": "en"})


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("en;q=0.5, zh;q=0.8", "zh-Hans"),
        ("fr, en;q=0.3,zh-TW;q=0.7", "zh-Hans"),
        ("zh;q=0.4, en-GB ; q=0.9", "en"),
        ("zh, en", "zh-Hans"),
        ("en, zh", "en"),
        ("zh;q=0", "en"),
        ("zh-Hant;q=0, zh", "zh-Hans"),
        ("zha, *", "en"),
        ("zh;q=nan, en;q=-1,;;,", "en"),
        ("", "en"),
    ],
)
def test_of_the_languages_of_a_browser_the_one_it_likes_best_is_taken(
    client: TestClient, accepted: str, language: str
) -> None:
    assert f'<html lang="{language}">' in get_page(client, "/", **{"Accept-Language": accepted})


def test_no_page_says_what_another_says_by_the_same_name() -> None:
    assert len(TEXTS) == sum(len(page.TEXTS) for page in PAGES)


def test_both_languages_fill_the_same_places() -> None:
    for key, (english, chinese) in TEXTS.items():
        places = [set(re.findall(r"\{(\w+)\}", text)) for text in (english, chinese)]
        assert places[0] == places[1], key


def test_empty_states_say_what_to_do(client: TestClient, registry: Registry) -> None:
    assert "autolora refresh" in get_page(client, "/?q=fox")
    with registry.sessions.begin() as session:
        add_adapter(session, author="ann", words="ann")
        add_adapter(session, author="bob", words="fox")
    page = get_page(client, "/?q=fox&author=ann")
    assert "Nothing fits" in page
    assert 'href="/?q=fox"' in page


def test_one_adapter_is_counted_as_one(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session)

    assert "<span>1 adapter ready</span>" in client.get("/").text


def test_a_filter_that_no_adapter_passes_says_which_there_are(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, author="quietfox")

    answer = client.get("/?author=quietfix", headers={"Accept": "text/html"})

    assert answer.status_code == 422
    assert "There are: quietfox." in answer.text


def test_filters_are_links_with_counts(client: TestClient, registry: Registry) -> None:
    """They work without JavaScript, and each leads on from what is asked for."""
    with registry.sessions.begin() as session:
        for _ in range(3):
            add_adapter(session, author="ann", tags=["fox"], licence="MIT")
        add_adapter(session, author="bob", tags=["fox", "red"])

    page = get_page(client, "/?author=ann&sort=name&tag=&min_rank=")

    links = {value for name, value in Tags(page).attributes if name == "href"}
    assert "/?sort=name" in links  # without the author
    assert "/?author=ann&sort=name&author=bob" in links
    assert {"/?author=ann&sort=downloads", "/?author=ann&sort=name"} <= links
    assert "<h2>3 adapters</h2>" in page
    assert "Author: ann" in page
    assert re.search(
        r'chosen-value"[^>]*><span class="value">ann</span> <span class="count">3<', page
    )


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        ("commercial=True", "May be used commercially: yes"),
        ("commercial=T", "May be used commercially: yes"),
        ("commercial=Off", "May be used commercially: no"),
        ("fusable=yes", "Can be fused: yes"),
        ("mature=Hide", "Mature: not marked mature"),
        ("mature=+HIDE", "Mature: not marked mature"),
    ],
)
def test_a_filter_is_called_by_what_it_was_read_as(
    client: TestClient, registry: Registry, asked: str, label: str
) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, licence="MIT")

    assert f'title="Remove {label}"' in get_page(client, f"/?{asked}")


def test_a_page_leads_to_the_next(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for number in range(30):
            add_adapter(session, name=f"adapter {number:02}")

    first = get_page(client, "/?sort=name")
    [following] = re.findall(r'href="([^"]+)" rel="next', first)
    second = get_page(client, following.replace("&amp;", "&"))

    shown = [re.findall(r">(adapter \d\d)<", page) for page in (first, second)]
    assert shown[0] + shown[1] == [f"adapter {number:02}" for number in range(30)]
    assert "<h2>30 adapters</h2>" in second
    assert 'rel="next' not in second
    assert "First page" in second


def test_examples_come_from_the_index_in_the_language_of_the_page(
    client: TestClient, registry: Registry
) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, tags=["diffusers", "silhouette", "水墨"], words="silhouette 水墨")

    english, chinese = (
        re.findall(
            r'class="chip" href="/\?q=[^"]+">([^<]+)<', get_page(client, f"/?lang={language}")
        )
        for language in ("en", "zh")
    )

    assert english == ["silhouette", "水墨"]
    assert chinese == ["水墨", "silhouette"]


def test_what_popular_adapters_are_called_in_chinese_is_an_example(
    client: TestClient, registry: Registry
) -> None:
    """Many have English tags and Chinese names or captions."""
    with registry.sessions.begin() as session:
        add_adapter(session, name="水彩狐狸", tags=["ink"], downloads=9)
        add_adapter(session, name="水彩狐狸", downloads=8)
        add_adapter(session, name="裸露", mature=True, downloads=7)
        add_adapter(session, name="模型32号", captions=[("剪影", embed(registry, "剪影"))])
        add_adapter(session, name="fox", captions=[("a fox", embed(registry, "a fox"))])

    examples = re.findall(r'class="chip" href="/\?q=[^"]+">([^<]+)<', get_page(client, "/?lang=zh"))

    assert examples == ["水彩狐狸", "剪影", "ink"]


def test_a_question_is_filtered_by_what_it_found(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, name="red fox", words="red fox", author="ann")
        add_adapter(session, name="fox", words="fox", author="bob")
        add_adapter(session, name="train", words="train", author="eve")

    page = get_page(client, "/?q=fox")

    assert 'href="/?q=fox&amp;author=ann"' in page
    assert "author=eve" not in page


def test_errors_are_pages_for_browsers_and_problems_for_programs(client: TestClient) -> None:
    page = client.get("/adapters/99", headers={"Accept": "text/html"})
    problem = client.get("/adapters/99")

    assert page.status_code == problem.status_code == 404
    assert "<h1>Adapter not found</h1>" in page.text
    assert problem.json()["title"] == "Adapter not found"
    assert client.get("/nowhere", headers={"Accept": "text/html"}).status_code == 404
    # Nothing twice, and nothing that is the name of a class.
    assert (
        "<p>There is no page at this address.</p>"
        in client.get("/nowhere", headers={"Accept": "text/html"}).text
    )
    chinese = client.get("/adapters/99?lang=zh", headers={"Accept": "text/html"})
    assert "<h1>没有找到</h1>" in chinese.text
    assert "<title>没有找到 · " in chinese.text


@pytest.mark.parametrize(
    ("url", "english", "chinese"),
    [
        (
            "/?sort=old",
            "The address says sort=old; sort has to be one of relevance, name, newest, updated, "
            "downloads, size, rank, random.",
            "地址中写着 sort=old，而 sort 应为以下之一："
            "relevance、name、newest、updated、downloads、size、rank、random。",
        ),
        (
            "/?min_rank=many",
            "The address says min_rank=many; min_rank has to be a whole number.",
            "地址中写着 min_rank=many，而 min_rank 应为整数。",
        ),
        (
            "/?commercial=maybe",
            "The address says commercial=maybe; commercial has to be true or false.",
            "地址中写着 commercial=maybe，而 commercial 应为 true 或 false。",
        ),
        (
            "/?seed=-1",
            "The address says seed=-1; seed has to be 0 at least.",
            "地址中写着 seed=-1，而 seed 应为不小于 0 的数。",
        ),
        # May be a number or nothing, and is at fault as both.
        (
            "/fuse?steps=x",
            "The address says steps=x; steps has to be a whole number.",
            "地址中写着 steps=x，而 steps 应为整数。",
        ),
        (
            f"/fuse?{'adapter=7&' * 6}",
            "The address says adapter 6 times; 5 times at most are read.",
            "地址中 adapter 出现了 6 次，最多 5 次。",
        ),
        (
            "/adapters/a",
            "The address has “a” where the number of an adapter belongs, as in /adapters/7.",
            "地址中“a”的位置应为适配器的编号，例如 /adapters/7。",
        ),
        (
            f"/images/{2**70}/result",
            f"The address has “{2**70}” where the number of an image belongs, as in "
            "/images/7/result.",
            f"地址中“{2**70}”的位置应为图片的编号，例如 /images/7/result。",
        ),
        (
            "/images?cursor=x",
            "The place in the list that the address names is not known here, or is of another "
            "search; begin with the first page.",
            "地址中的分页位置无效，或属于另一次搜索；请从第一页开始。",
        ),
    ],
)
def test_an_address_that_was_mistyped_is_mended_by_who_reads_what_it_may_say(
    client: TestClient, url: str, english: str, chinese: str
) -> None:
    for language, said in (("en", english), ("zh", chinese)):
        page = client.get(url, headers={"Accept": "text/html", "Accept-Language": language})

        assert page.status_code in (400, 422)
        assert f"<p>{said}</p>" in page.text
        assert "Input should" not in page.text
        # One can go on from there.
        assert 'href="/images"' in page.text
    assert client.get(url).json()["title"] in ("Invalid request", "Cursor")


def test_one_goes_on_without_what_was_mistyped(client: TestClient) -> None:
    """All of it at once, and nothing else is lost."""
    browser = {"Accept": "text/html"}

    page = client.get("/?q=fox&sort=old&tag=a&tag=b&seed=x&cursor=y", headers=browser).text
    list_page = client.get("/images?picked=3&cursor=x", headers=browser).text

    assert 'href="/?q=fox&amp;tag=a&amp;tag=b">Go on without it</a>' in page
    assert 'href="/images?picked=3">The first page</a>' in list_page


def test_what_was_asked_survives_a_filter_that_is_wrong(client: TestClient) -> None:
    """A slip in one field of a form does not cost the question."""
    browser = {"Accept": "text/html"}

    wrong = client.get("/?q=a+%22fox%22&updated_since=soon", headers=browser).text
    chinese = client.get("/?q=fox&min_size=x&lang=zh", headers=browser).text

    assert 'href="/?q=a%20%22fox%22">Search for “a &#34;fox&#34;” without filters</a>' in wrong
    assert "<p>updated_since is &#39;soon&#39;" in wrong  # the name of a field as it is
    assert "不加筛选地搜索“fox”" in chinese
    # Where the question itself is at fault, it is not offered again.
    assert "without filters" not in client.get(f"/?q={'x' * 2001}&tag=a", headers=browser).text


@pytest.mark.parametrize(
    ("wrong", "mended"),
    [
        ("min_size=x&tag=animal", "?q=fox&amp;tag=animal"),
        ("author=ann&author=nobody", "?q=fox&amp;author=ann"),
        ("tag=animal&tag=none&cursor=", "?q=fox&amp;tag=animal"),
        ("base_model=sd-9&sort=name", "?q=fox&amp;sort=name"),
        ("min_size=2GB&max_size=1GB&tag=animal", "?q=fox&amp;tag=animal"),
    ],
)
def test_one_goes_on_without_the_filter_that_is_wrong(
    client: TestClient, registry: Registry, wrong: str, mended: str
) -> None:
    """The others are kept, of several values the right ones, too; or all filters go."""
    with registry.sessions.begin() as session:
        add_adapter(session, author="ann", tags=["animal"], words="fox")

    page = client.get(f"/?q=fox&{wrong}", headers={"Accept": "text/html"}).text

    assert f'primary" href="/{mended}">Go on without it</a>' in page
    assert 'button" href="/?q=fox">Search for “fox” without filters</a>' in page


def test_a_list_is_left_as_it_is_but_for_the_filter_that_is_wrong(client: TestClient) -> None:
    """Nothing was searched for; where no filter is left, the way back to search is the same."""
    browser = {"Accept": "text/html", "Accept-Language": "zh"}

    page = client.get("/?updated_since=soon&mature=hide", headers=browser).text
    alone = client.get("/?updated_since=soon", headers=browser).text

    assert 'href="/?mature=hide">去掉后继续</a>' in page
    assert "去掉后继续" not in alone


def test_no_sign_turns_a_page_round(client: TestClient, registry: Registry) -> None:
    """Neither in what is shown, nor in what an error says."""
    hostile = "fox \u202e\u2066\x9b\u200b\x1b"
    with registry.sessions.begin() as session:
        adapter = add_adapter(
            session, name=hostile, author=hostile, description=hostile, tags=[hostile], words="fox"
        )

    pages = [
        client.get(url, headers={"Accept": "text/html"}).text
        for url in (
            "/?q=fox",
            f"/adapters/{adapter.id}",
            "/?base_model=%E2%80%AE",
            "/?lang=%E2%80%AE",
        )
    ]

    for page in pages:
        assert not [sign for sign in page if not sign.isprintable() and sign != "\n"]
    assert "\\u202e" in pages[0]


@pytest.mark.parametrize("path", ["//evil.example", "/%5Cevil.example", "/%2Fevil.example/x"])
def test_the_language_link_of_an_error_page_stays_here(client: TestClient, path: str) -> None:
    """A browser reads `//name` and `/\\name` as another site."""
    page = client.get(f"http://127.0.0.1{path}", headers={"Accept": "text/html"}).text

    links = [value for name, value in Tags(page).attributes if name == "href"]
    assert "?lang=zh" in links
    assert not [link for link in links if link.startswith(("//", "/\\"))]


def test_a_refused_adapter_says_why(client: TestClient, registry: Registry) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, state="refused", refusal="it is a pickle")

    page = get_page(client, f"/adapters/{adapter.id}")

    assert "Refused: it is a pickle" in page
    assert "Fuse with this" not in page
    assert "已拒绝：" in get_page(client, f"/adapters/{adapter.id}?lang=zh")


def test_a_pasted_page_of_words_is_not_said_again(client: TestClient, registry: Registry) -> None:
    """A long question left no room for what was found."""
    add_cover(registry)

    page = get_page(client, f"/?q={'fox ' * 400}")

    assert f"“{'fox ' * 39}fox…”" in page
    # In the box, in what the tray takes along, and in addresses it is whole.
    assert f'name="prompt" value="{"fox " * 399}fox"' in page


def test_results_and_what_they_were_compared_by_have_one_name(
    client: TestClient, registry: Registry
) -> None:
    one = add_cover(registry)
    add_cover(registry, "blue")

    page = get_page(client, f"/?like={one.id}")

    assert "Compared by meaning" in re.sub(r"\s+", " ", page)
    assert "比较依据：含义" in get_page(client, f"/?like={one.id}&lang=zh")
    assert "<dt>Meaning</dt>" in page


@given(st.from_regex(SIZE, fullmatch=True) | st.text("0123456789. kKmMgGtTbBiI", max_size=8))
def test_a_field_for_sizes_takes_what_is_read_as_one(text: str) -> None:
    """So that a slip is mended in the form, and leads to no page that says so."""
    # \d and \s of a browser's pattern mean other letters than Python's.
    is_plain = text.isascii()
    assert not is_plain or bool(re.fullmatch(SIZE_PATTERN, text)) == bool(SIZE.fullmatch(text))
