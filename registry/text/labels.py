"""Labels that people write before what they look for: `author:nightkiln`, `@ann`, `标签：水墨`.

Authors, tags and names are all among the words of an adapter; the label is among those of none.
"""

import re

_ENGLISH = (
    "author", "creator", "artist", "user", "by", "tags?", "names?", "title", "file(?:[ _]?name)?",
    r"trigger(?:[ _-]?words?)?", "keywords?", "hub", "site", "civitai", "hugging ?face", "hf",
    "modelscope",
)  # fmt: skip
_CHINESE = (
    "作者", "创作者", "創作者", "标签", "標籤", "名称", "名稱", "名字", "模型名", "文件名",
    "触发词", "觸發詞", "关键词", "關鍵詞", "平台", "网站", "網站",
    # Not that of what a picture is to be without.
    "(?:正向|正面)?(?<!反向|负面|负向|負面|負向)提示[词詞]",
)  # fmt: skip
# Not inside `urn:air:sdxl:lora:civitai:12`, which names an adapter by all of it.
_LABELS = re.compile(
    rf"(?:(?<![\w:/.-])(?:{'|'.join(_ENGLISH)})|(?:{'|'.join(_CHINESE)})) ?[:：] ?(?=[^\s/])",
    re.IGNORECASE,
)
_AT = re.compile(r"(?<!\S)[@＠](?=\w)")


def without_labels(text: str) -> str:
    """Return a question without the labels before its words; as it is where it has none."""
    return _AT.sub("", _LABELS.sub(" ", text)).strip() or text
