"""What a text encoder makes of texts that have nothing to do with each other, or with anything.

Similarities mean something only beside those of strangers, and an index may hold too few captions
to know them. So a question is compared with fixed texts too: everyday phrases, whose similarities
among themselves are the scale, and gibberish, which lies near other gibberish and near very short
words, whatever the index holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from encoder.arrays import Doubles, Floats
from encoder.text_encoder import TextEncoder

PHRASES = (
    "portrait of a woman", "an old man with a beard", "anime girl", "knight in armour",
    "city at night", "forest in the fog", "mountain landscape", "sports car", "oil painting",
    "watercolour", "pixel art", "3d render", "comic book page", "vintage poster", "robot",
    "dragon", "castle", "street photography", "film grain", "fashion model", "logo", "icon",
    "pattern", "kitchen interior", "garden", "beach at sunset", "snow", "fire", "crystal",
    "silk fabric", "leather jacket", "hairstyle", "hands", "face close-up", "cat", "horse", "bird",
    "insect", "flower", "fruit", "soup", "train", "ship", "house", "bridge", "church", "moon",
    "clock", "book", "letter", "arrow", "dancer", "doctor", "baby", "skull", "toy", "wood carving",
    "embroidery", "blueprint", "map", "screenshot", "red", "old", "happy", "fast",
    "女人的肖像", "留胡子的老人", "动漫少女", "穿盔甲的骑士", "夜晚的城市", "雾中的森林",
    "山水风景", "跑车", "油画", "水彩", "像素画", "三维渲染", "漫画页面", "复古海报", "机器人",
    "龙", "城堡", "街头摄影", "胶片颗粒", "时装模特", "标志", "图标", "图案", "厨房", "花园",
    "日落海滩", "雪", "火", "水晶", "丝绸", "皮夹克", "发型", "手", "面部特写", "猫", "马", "鸟",
    "昆虫", "花", "水果", "汤", "火车", "船", "房子", "桥", "教堂", "月亮", "时钟", "书", "字母",
    "箭头", "舞者", "医生", "婴儿", "骷髅", "玩具", "木雕", "刺绣", "蓝图", "地图", "截图", "红",
    "旧", "快乐", "快",
)  # fmt: skip
GIBBERISH = (
    "sdfg", "qwert", "hjkl uiop", "zxcv bnm", "poiuy", "dfghjk", "wertz", "asd asd", "fghfgh",
    "lkjhgfds", "qaz wsx", "yxcvbn", "rtyu", "mnbvc", "oiuz trew", "xcvb sdfg wert",
    "gruvlok", "tepniq wodra", "xalbrin", "opqueth zir", "mivvar tesk", "drolfen", "uyneb",
    "keftorz",
    "wgkxzt", "bdtrpm", "kzvhqlfw", "xnjq", "pftrw mnvk", "zqxjkv", "hgfdt", "cvbtrw", "jkwq 771",
    "rtpl 48213", "xx 90", "kd83jf02", "w4x8 z1q", "998877", "1029384756", "00112", "31415 926",
    "rrrr", "ababab", "xyxyxy", "kkkkkk", "oooo", "lalalalala", "ttt ttt", "gagaga", "mmmm",
    "e e e",
    "呵呵呵", "哎哎", "嘿嘿嘿嘿", "呜呜呜", "哇哇", "啦啦啦啦", "噢噢", "呃呃呃", "哼哼", "嘻嘻",
    "喔呀喔呀", "嗯哦嗯哦", "的的的", "了吗呢", "是的呢吧", "之乎者也",
    "龘齉爩", "鼗瓞骉", "囧槑燚", "彳亍犇", "鲎蛩蟪", "氍毹觊觎", "夔魍龠", "饕餮耄耋", "髑髅魃",
    "嫠纛黼", "旮旯犄", "翀珏祎", "铋镧钽", "薤蘼苌", "踯躅踽", "缱绻氤", "婳祁轱", "攮撺擤",
    "鼙帔 wkqf", "绠汲 zvbn", "罅隙 qpx", "觳觫 rtlk", "??!!", "...", ";;;;", "#$%&", "~~~~",
    "-- --",
)  # fmt: skip
# How near the nearest gibberish is, by so many of it: one alone is chance.
NEAREST = 3

Turn = Callable[[Floats], Floats]


@dataclass(frozen=True, eq=False)
class Strangers:
    """Fixed texts in one text encoder's space."""

    phrases: Floats  # (phrases, dim)
    gibberish: Floats  # (texts, dim)

    @cached_property
    def plain_scale(self) -> tuple[float, float]:
        """Mean and deviation of the similarities between unrelated texts."""
        return self.scale(lambda embeddings: embeddings)

    def scale(self, turn: Turn) -> tuple[float, float]:
        """The same where questions are turned before they are compared with plain texts."""
        similarity = turn(self.phrases) @ self.phrases.T
        return between(similarity[~np.eye(len(similarity), dtype=bool)])

    def likeness_to_gibberish(self, question: Floats) -> float:
        """Return how similar a question (dim,), turned or plain, is to what means nothing."""
        return float(np.sort(self.gibberish @ question)[-NEAREST:].mean())

    def gibberish_of(self, question: Floats) -> float:
        """Return the same of a plain question in deviations above unrelated texts."""
        mean, deviation = self.plain_scale
        return (self.likeness_to_gibberish(question) - mean) / deviation


# Of the encoders in use; those of tests go with their encoder.
_known: WeakKeyDictionary[TextEncoder, Strangers] = WeakKeyDictionary()


def strangers_of(text_encoder: TextEncoder) -> Strangers:
    """Embed the fixed texts, once for each encoder: a third of a second for the bundled one."""
    if text_encoder not in _known:
        _known[text_encoder] = Strangers(
            text_encoder.encode(PHRASES), text_encoder.encode(GIBBERISH)
        )
    return _known[text_encoder]


def between(others: Floats | Doubles) -> tuple[float, float]:
    """Mean and deviation of similarities to strangers, by quartiles.

    Some others are about the same thing; they must not pass for strangers.
    """
    low, middle, high = np.quantile(others, [0.25, 0.5, 0.75]).tolist()
    # The quartiles of a normal distribution are 1.349 deviations apart.
    return middle, max((high - low) / 1.349, 1e-3)
