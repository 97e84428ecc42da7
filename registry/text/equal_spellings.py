"""Other spellings of a word, each as good as the one that was asked for: grey = gray, réd = red.

Words that people who make images use, as in Great Britain and in America, and accents that many
leave out. Whoever has any of the spellings has the word.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache

_PAIRS = """
    aeroplane airplane, aluminium aluminum, armour armor, armoured armored, behaviour behavior,
    calibre caliber, candour candor, catalogue catalog, centre center, centred centered,
    chequered checkered, colour color, coloured colored, colourful colorful,
    colouring coloring, cosy cozy, defence defense, dialogue dialog, discolour discolor,
    favourite favorite, fibre fiber, flavour flavor, flavoured flavored,
    glamour glamor, greyscale grayscale, grey gray, greyish grayish, harbour harbor, honour honor,
    humour humor, jeweller jeweler, jewellery jewelry, jewelled jeweled, labour labor,
    licence license, lustre luster, manoeuvre maneuver, marvellous marvelous, metre meter,
    modelled modeled, modelling modeling, mould mold, moustache mustache,
    multicolour multicolor, multicoloured multicolored, neighbour neighbor, odour odor,
    offence offense, panelled paneled, parlour parlor, plough plow, pyjama pajama,
    rigour rigor, rumour rumor, sabre saber, savour savor, sceptre scepter, sepulchre sepulcher,
    smoulder smolder, sombre somber, spectre specter, sulphur sulfur,
    technicolour technicolor, theatre theater, travelled traveled,
    traveller traveler, unicolour unicolor, vapour vapor, vapourwave vaporwave,
    vigour vigor, watercolour watercolor, watercoloured watercolored, waggon wagon, woollen woolen,
    yoghurt yogurt
"""
# Of shorter words "rise", "wise" and "size" would be the most.
_SHORTEST_IN_ISE = 7
_ISE = re.compile(r"(.+)i([sz])(e|ed|er|ing|ation)")
_ASCII = re.compile(r"[a-z]")
# Letters that no mark is taken off.
_WITHOUT_MARKS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe"})


def without_accents(word: str) -> str:
    """Return a word in lower case without the accents of its Latin letters: café is cafe."""
    if word.isascii():
        return word
    return "".join(map(_plain, word)).translate(_WITHOUT_MARKS)


def equal_spellings(word: str) -> tuple[str, ...]:
    """Return the other spellings of a word in lower case, as words are cut; mostly there are none.

    Who asks with accents asks for the word without; for words with accents `segment` stores both.
    """
    plain = without_accents(word)
    found = {plain: None}
    if other := _pairs().get(plain):
        found[other] = None
    if len(plain) >= _SHORTEST_IN_ISE and (ending := _ISE.fullmatch(plain)):
        found[f"{ending[1]}i{'z' if ending[2] == 's' else 's'}{ending[3]}"] = None
    found.pop(word, None)
    return tuple(found)


def _plain(character: str) -> str:
    first = unicodedata.normalize("NFD", character)[0]
    # Of Latin letters only: a Korean syllable has parts too, and they are no word.
    return first if _ASCII.match(first) else character


@cache
def _pairs() -> Mapping[str, str]:
    pairs = [pair.split() for pair in _PAIRS.split(",")]
    return {word: other for one, two in pairs for word, other in ((one, two), (two, one))}
