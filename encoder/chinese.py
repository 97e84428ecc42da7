"""Chinese as people write it -> one script for it.

People in Taiwan and Hong Kong write 貓 where those in mainland China write 猫, and hubs have both.
"""

import re
from functools import cache
from typing import Any

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
KANA_AND_HANGUL = r"\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\uac00-\ud7a3"
# Scripts beside which people write Latin words without a space.
UNSPACED = HAN + KANA_AND_HANGUL
_HAS_HAN = re.compile(f"[{HAN}]")


def simplified(text: str) -> str:
    """Return `text` with traditional characters as simplified ones, and all else as it is.

    By words where characters alone would not tell: 乾淨 is 干净, 乾坤 stays.
    """
    return str(_converter().convert(text)) if _HAS_HAN.search(text) else text


@cache
def _converter() -> Any:
    # 40 ms, and only for those who have Chinese.
    from opencc import OpenCC

    return OpenCC("t2s")
