"""Prompts as people write them for image models -> what they say, as a caption.

Commands to the program, weights, and praise that every prompt has alike say nothing of a picture,
yet would make strangers' captions similar.
"""

import re

# Stored with each caption made so. Raise it with a change of the rules: prompts are cleaned anew.
CLEANING_VERSION = "clean-1"

# `<lora:name:0.8>`, `<lyco:…>`, `<hypernet:…>`: what web UIs are to load.
_CALLS = re.compile(r"<[a-z]{2,12}:[^<>]{0,300}>", re.IGNORECASE)
# ComfyUI's and A1111's textual inversions, and wildcards that were not filled in.
_EMBEDDINGS = re.compile(r"\bembedding:[\w./\\-]+|\b(?:ti|embed):[\w./\\-]+|__[\w/*-]{1,60}__")
# Seams of regional prompts and chunks; in capitals only, for "break" is a word.
_SEAMS = re.compile(r"\b(?:BREAK|ADDCOMM|ADDBASE|ADDROW|ADDCOL)\b")
# Midjourney's options: `--ar 16:9 --v 6 --style raw`.
_OPTIONS = re.compile(r"\s--[a-z]{1,12}(?:\s+(?!--)[\w.:/-]{1,30})?(?=\s|$)", re.IGNORECASE)
# `(word:1.2)`, `word:1.2` and Midjourney's `word::2`.
_NUMBER = r"-?(?:\d{1,3}(?:\.\d{0,6})?|\.\d{1,6})"
_WEIGHTS = re.compile(
    rf"::?\s*{_NUMBER}\s*(?=[)\]}}>])|:-?\d{{0,3}}\.\d{{1,6}}(?=\s*(?:,|$))|::(?:{_NUMBER})?"
)
# `[cat:dog:0.5]`, one after the other, and `{red|blue}`, either.
_EDITS = re.compile(r"\[([^\[\]:]{1,200}):([^\[\]:]{0,200})\]")
_ESCAPED = {"\\(": "\ue000", "\\)": "\ue001", "\\[": "\ue002", "\\]": "\ue003"}
# "a cat (black)" is a remark; brackets behind a comma, or in others, stress a word.
_REMARKS = re.compile(r"(?<=[^\s,，(\[{|]) \(([^()\[\]{}:|]{1,200})\)(?!\))")
_BRACKETS = re.compile(r"[()\[\]{}]")
_PARTS = re.compile(r"([,，\n|])")
_UNDERSCORES = re.compile(r"(?<=[^\W_])_+(?=[^\W_])")
# Praise, resolutions, scores and ratings, as boards and models of anime and Pony call them.
_QUALITY = re.compile(
    r"""
    (?:(?:very|extremely|ultra|super|highly|hyper|incredibly|insanely|absurdly|amazingly)[\s-]*)*
    (?:masterpieces?|detail(?:ed|s)?|aesthetic|absurd\s?res|high\s?res|hi\s?res|hd|uhd|fhd|hdr|qhd
      |sharp\sfocus|intricate\sdetails?|newest|recent|beautiful|perfect|awa
      |(?:best|high|highest|top|amazing|great|good|normal|medium|finest|perfect|premium|excellent)
        [\s-]*(?:quality|resolution|res|details?|definition|detailed)
      |(?:extremely\s)?(?:detailed\s)?(?:cg\s)?(?:unity\s)?\d{1,2}\s?k(?:\s(?:wallpaper|uhd|hdr|resolution))?
      |trending\son\s(?:art\s?station|pixiv)(?:\shq)?|art\s?station(?:\shq)?|award[\s-]winning
      |official\sart|quality|raw(?:\sphoto)?)
    | score[\s_]\d(?:[\s_]up)? | (?:rating|source)[\s_:]\w+ | safe | sensitive | questionable
    | explicit | nsfw | sfw | (?:year\s)?20[0-3]\d | \d{1,2}\s?k
    | (?:超|极|最)?(?:高清|高画质|高质量|高品质|高分辨率|高细节|清晰)(?:画质|晰度)?
    | (?:最高|最佳|最好|极佳|极高|顶级)(?:的)?(?:质量|画质|品质|细节) | 杰作 | 大师(?:之?作|级)?
    | 超?(?:精细|细节|细致)(?:丰富)? | 精美 | 完美(?:细节)? | 画质 | 壁纸
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Hubs' prompts have a few KB; what is longer is no prompt.
MAX_PROMPT = 20_000


def clean_prompt(prompt: str) -> str:
    """Return what a prompt says of its picture; "" where it says nothing.

    Parts keep their order and come once each; what is plain language stays as it is.
    """
    text = _REMARKS.sub(r" \\(\1\\)", prompt[:MAX_PROMPT])
    for written, kept in _ESCAPED.items():
        text = text.replace(written, kept)
    for noise in (_CALLS, _EMBEDDINGS, _SEAMS):
        text = noise.sub(", ", text)
    text = _WEIGHTS.sub("", _OPTIONS.sub(" ", text))
    text = _BRACKETS.sub("", _EDITS.sub(r"\1, \2", text))
    for written, kept in _ESCAPED.items():
        text = text.replace(kept, written[1])
    return _join_parts(text)


def _join_parts(text: str) -> str:
    """Put together the parts that say something, with the seams they had."""
    # Parts at even places, the seam before each of them in front of it.
    pieces = ["", *_PARTS.split(text)]
    joined, seen = "", set[str]()
    for seam, part in zip(pieces[::2], pieces[1::2], strict=True):
        words = " ".join(_UNDERSCORES.sub(" ", part).split()).strip(" ;:-")
        bare = words.rstrip(".。").lower()
        if not bare or bare in seen or _QUALITY.fullmatch(bare):
            continue
        seen.add(bare)
        ended = seam == "\n" and joined.endswith((".", "。", "!", "?"))
        seam = "，" if seam == "，" else " " if ended else ", "
        joined += f"{seam}{words}" if joined else words
    return joined
