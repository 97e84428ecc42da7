"""Names for pictures: English from the sets' own icon names, Chinese from CLDR or a dictionary."""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.art import list_emoji, list_shortcodes, normalise

# Sizes, weights and running numbers at the end of an icon's name say nothing of what it shows.
TRAILING = {
    *("alt", "one", "two", "three", "four", "o", "f", "solid", "line", "outline", "fill"),
    *("filled", "duotone", "duo", "light", "bold", "thin", "regular", "rounded", "variant"),
}
# Marks of companies are theirs, whatever the licence of the drawing.
BRAND_WORDS = """
500px adobe airbnb airplay alipay amazon android angellist angular apple atlassian aws azure
bandcamp behance bilibili bing bitbucket blender blogger bluesky bootstrap brand brands chrome
cisco codepen css3 dailymotion deezer deviantart devto digg digitalocean discord discourse
django docker dribbble dropbox ebay edge etsy evernote facebook fb figma firefox flickr flutter
foursquare git github gitlab gmail google graphql hangouts hulu html5 ibm imdb instagram
intel java javascript jira joomla kickstarter kotlin kubernetes laravel lastfm line linkedin
linux logo mastercard mastodon medium messenger meta microsoft mongodb nest netflix nginx
nintendo nodejs npm nvidia office365 openai opera oracle outlook patreon paypal php
pinterest playstation playstore pocket postgresql producthunt python qq quora react reddit
redis renren safari samsung sketch skype slack slideshare snapchat soundcloud spotify
stackoverflow steam stripe svelte swift taobao teams telegram threads tiktok trello tripadvisor
tumblr twitch twitter typescript ubuntu uber unity unsplash vimeo vine visa vk vscode vue wechat
weibo whatsapp wikipedia windows wordpress xbox xing yahoo yelp youtube zhihu zoom
"""
BRANDS = set(BRAND_WORDS.split())
SKIN_TONE = re.compile(r"(skin-tone|-(medium-light|medium-dark|medium|light|dark)$)")
MOST_WORDS = 4
MOST_FREQUENT = 3000


@dataclass
class Namer:
    """Turns icon names into entries of one list of names, shared by all sets."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)
    _dictionary: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, emojibase: Path, cedict: Path) -> "Namer":
        namer = cls(_dictionary=read_dictionary(cedict))
        namer._add_emoji(emojibase)
        return namer

    def name(self, icon: str) -> int | None:
        """Give the place of an icon's name among the entries; None for what is left out."""
        emoji = self._known.get(normalise(icon))
        if emoji is not None:
            return emoji
        words = clean(icon)
        if not words or BRANDS & set(words):
            return None
        label = " ".join(words)
        key = normalise(label)
        if key not in self._known:
            self._known[key] = len(self.entries)
            label_zh, rough = self.translate(label)
            self.entries.append(
                {
                    "label": label,
                    "label_zh": label_zh,
                    "rough_zh": rough,
                    "tags": [],
                    "tags_zh": [],
                    "group": "",
                    "subgroup": "",
                    "subgroup_zh": "",
                }
            )
        return self._known[key]

    def translate(self, label: str) -> tuple[str, bool]:
        """Translate by the dictionary; word by word, and so roughly, where the whole is not in it.

        Nothing where a word is missing.
        """
        whole = self._look_up(label)
        if whole:
            return whole, False
        parts = [self._look_up(word) for word in label.split()]
        return ("".join(parts), True) if len(parts) <= 3 and all(parts) else ("", False)

    def _look_up(self, label: str) -> str:
        singular = label.removesuffix("s")
        return self._dictionary.get(label) or self._dictionary.get(singular) or ""

    def _add_emoji(self, folder: Path) -> None:
        """Enter the emoji under their labels, shortcodes and, for flags, country codes."""
        by_hexcode = {}
        for hexcode, entry in list_emoji(folder):
            place = by_hexcode[hexcode] = len(self.entries)
            label = entry["label"].replace("flag: ", "flag of ")
            label_zh = re.sub(r"^旗[:：]\s*(.*)$", r"\1国旗", entry["label_zh"])
            self.entries.append({**entry, "label": label, "label_zh": label_zh, "rough_zh": False})
            for key in emoji_keys(entry["label"], hexcode):
                self._known.setdefault(key, place)
        for hexcode, code in list_shortcodes(folder):
            # Bare country names are other things elsewhere: maps, languages, teams.
            if hexcode in by_hexcode and not is_flag(hexcode):
                self._known.setdefault(normalise(code), by_hexcode[hexcode])


def emoji_keys(label: str, hexcode: str) -> list[str]:
    """List what sets may call an emoji: its label, "flag for X", "X face" without the face."""
    keys = [normalise(label)]
    if label.startswith("flag: "):
        country = label.removeprefix("flag: ")
        letters = "".join(chr(int(part, 16) - 0x1F1E6 + ord("a")) for part in hexcode.split("-"))
        keys += [normalise(f"flag for {country}"), normalise(f"flag for flag {country}")]
        keys += [f"flag{letters}"]
    return keys


def is_flag(hexcode: str) -> bool:
    return all(0x1F1E6 <= int(part, 16) <= 0x1F1FF for part in hexcode.split("-"))


def clean(icon: str) -> list[str]:
    """Split an icon's name into the words that say what it shows."""
    words = [word for word in re.split(r"[-_]", icon.lower()) if word]
    if words[:2] == ["interface", "essential"]:
        words = words[2:]
    while len(words) > 1 and (words[-1] in TRAILING or words[-1].isdigit()):
        words.pop()
    words = [word for word in words if not word.isdigit()]
    return words[-MOST_WORDS:]


def read_dictionary(folder: Path) -> dict[str, str]:
    """Turn CC-CEDICT round: an English gloss -> the commonest Chinese word that it explains."""
    import jieba

    jieba.dt.initialize()
    raw = (folder / "data/all.js").read_text().removeprefix("export default ").rstrip().rstrip(";")
    best: dict[str, tuple[float, str]] = {}
    for _, simplified, pinyin, glosses, *_ in json.loads(raw)["all"]:
        if pinyin[:1].isupper():  # proper names
            continue
        # The very frequent ones are particles and verbs, which explain everything a little.
        common = math.log(1 + min(jieba.dt.FREQ.get(simplified, 0), MOST_FREQUENT))
        common -= 2.0 * (len(simplified) == 1)
        for gloss, place in list_glosses(glosses):
            score = common - 1.5 * place
            if score > best.get(gloss, (-math.inf, ""))[0]:
                best[gloss] = (score, simplified)
    return {gloss: word for gloss, (_, word) in best.items()}


def list_glosses(glosses: str | list[str]) -> list[tuple[str, float]]:
    """List an entry's short glosses with their place; explanations in brackets count less."""
    found = []
    parts = [glosses] if isinstance(glosses, str) else glosses
    for place, gloss in enumerate(part for whole in parts for part in whole.split(";")):
        plain = re.sub(r"\([^)]*\)|\[[^\]]*\]", "", gloss)
        bracket = 0.5 if plain != gloss else 0.0
        plain = re.sub(r"^(an?|the) ", "", plain.strip().lower())
        if plain and plain.count(" ") < MOST_WORDS:
            found.append((plain, place + bracket))
    return found
