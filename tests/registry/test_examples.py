"""Whatever we tell people to type finds something in the demo."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from demo.paths import DATA
from demo.run import SEARCHES
from registry.api.app import create_app
from registry.api.pages.texts import TEXTS
from registry.service import Registry
from registry.text.word_segmentation import segment_places
from tests.builders import add_adapter

README = Path(__file__).parents[2] / "README.md"
# In a command, and in Python.
EXAMPLE = re.compile(r'(?:autolora search|registry\.search\() ?"([^"]+)"')
CHIP = re.compile(r'class="chip" href="/\?q=[^"]+">([^<]+)<')


def examples() -> list[str]:
    """The demo's own, those of the README, and what stands in the empty field of the page."""
    written = EXAMPLE.findall(README.read_text())
    assert len(written) >= 2
    return list(dict.fromkeys([*SEARCHES, *written, *TEXTS["search.placeholder"]]))


@pytest.fixture
def demo(registry: Registry) -> Registry:
    """What the demo's hub says of its adapters, without their files: no encoder helps."""
    listing = json.loads((DATA / "zoo/listing.json").read_text())
    prompts = [[cover["prompt"] for cover in entry["covers"]] for entry in listing]
    every = [prompt for own in prompts for prompt in own]
    embeddings = dict(zip(every, registry.text_encoder.encode(every).tolist(), strict=True))
    with registry.sessions.begin() as session:
        for entry, own in zip(listing, prompts, strict=True):
            named = [entry["display_name"], *entry["trigger_words"]]
            said = [entry["file"], *entry["tags"], entry["description"]]
            add_adapter(
                session,
                name=entry["display_name"],
                author=entry["owner"],
                tags=entry["tags"],
                trigger_words=entry["trigger_words"],
                words=segment_places("\n".join(named), entry["owner"], "\n".join(said)),
                captions=[(prompt, embeddings[prompt]) for prompt in own],
            )
    return registry


def chips(demo: Registry) -> list[str]:
    """What the page offers to search for, in both languages."""
    with TestClient(create_app(demo), base_url="http://127.0.0.1") as client:
        pages = [client.get("/", params={"lang": language}).text for language in ("en", "zh")]
    found = [CHIP.findall(page) for page in pages]
    assert all(found)
    return [unescape(text) for own in found for text in own]


def test_every_example_finds_something(demo: Registry) -> None:
    for text in [*examples(), *chips(demo)]:
        first = demo.search(text).results[0]
        assert first.hit.band != "probably not", (text, first.hit.score)


def test_ordinary_words_fit(demo: Registry) -> None:
    """What stands in names and tags, an author, a file: all that was once refused."""
    for text in ("silhouette", "neon", "texture", "cartoon", "quietfox", "剪影", "my_lora_34"):
        page = demo.search(text)
        assert page.fits, text
    assert demo.search("silhouette").found["demo-flux-tiny"] >= 5


def test_nonsense_is_probably_not_there(demo: Registry) -> None:
    for text in ("asdfqwer", "qwrtz 123", "啊啊啊", "lkjhgf", "zzzzzz"):
        assert {result.hit.band for result in demo.search(text).results} == {"probably not"}, text
