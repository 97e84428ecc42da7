"""What other rooms say in English, of files and when something goes wrong, in Chinese.

They know nothing of pages and languages, and their sentences are stored. So each is known
by its words (words/said_*.py); `{slots}` stand for what changes, and are kept as they are.
"""

import re
from collections.abc import Mapping
from functools import cache

from registry.api.pages.words.said_in_answers import ANSWERS, FAULTS
from registry.api.pages.words.said_of_files import FILES

# A longer one quotes something; a stranger's could be made to be slow to compare.
MOST_LETTERS = 500
# Slots of what is said in turn.
SENTENCES = {"claim", "what"}
# Slots of several names.
SEVERAL = {"base", "bases"}
AND = re.compile(" (?:and|or) ")
SLOT = re.compile(r"\{(\w+)\}")


def fault_in_chinese(kind: str, facts: Mapping[str, object]) -> str | None:
    """Return what is wrong with a value in Chinese; None where pydantic has another fault."""
    if (pattern := FAULTS.get(kind)) is None:
        return None
    said = {name: str(value).replace(" or ", "、") for name, value in facts.items()}
    return pattern.format(**said)


def in_chinese(text: str) -> str | None:
    """Return a sentence, or several between "; ", in Chinese; None where one is not known."""
    if len(text) > MOST_LETTERS:
        return None
    if (whole := _sentence(text)) is not None:
        return whole
    parts = [_sentence(part) for part in text.split("; ")]
    return None if None in parts else "；".join(filter(None, parts))


def _sentence(text: str) -> str | None:
    for pattern, chinese in _patterns():
        if match := pattern.fullmatch(text):
            said = match.groupdict()
            for name in SENTENCES & said.keys():
                said[name] = in_chinese(said[name]) or said[name]
            for name in SEVERAL & said.keys():
                said[name] = AND.sub("、", said[name])
            return chinese.format(**said)
    return None


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    return [(_pattern(english), chinese) for english, chinese in (*FILES, *ANSWERS)]


def _pattern(english: str) -> re.Pattern[str]:
    words = SLOT.split(english)
    return re.compile(
        "".join(
            f"(?P<{word}>.+?)" if is_slot else re.escape(word)
            for word, is_slot in zip(words, [False, True] * len(words), strict=False)
        ),
        re.DOTALL,
    )
