"""How looks and effects are put into words: as captions say it, and as people ask for it.

Captions tell what is seen. Looks that a person cannot tell apart share their words, and are one
concept. Questions say the same otherwise, so that what is measured is no matching of phrases.
"""

from dataclasses import dataclass

from demo.effects import COLOURS, PATTERNS
from demo.world.sources import Look


@dataclass(frozen=True)
class Words:
    """One thing in words, each (English, Chinese)."""

    seen: tuple[str, str]
    asked: tuple[str, str]


def words(seen: str, seen_zh: str, asked: str, asked_zh: str) -> Words:
    return Words((seen, seen_zh), (asked, asked_zh))


LINE = words("thin black line icon", "黑色细线图标", "simple dark strokes only", "只用深色线条勾勒")
SOLID = words("solid black icon", "黑色实心图标", "dark filled shapes", "深色填满的形状")
BLUE_SOLID = words("solid blue icon", "蓝色实心图标", "shapes filled with blue", "用蓝色填满的形状")
BLUE_LINED = words(
    "blue outline icon with pale blue filling",
    "淡蓝填充的蓝色描边图标",
    "contours in blue, light blue inside",
    "轮廓是蓝色，里面浅蓝",
)
BLUE_FLAT = words(
    "flat icon in two shades of blue",
    "深浅蓝色扁平图标",
    "no contours, just dark and light blue areas",
    "没有轮廓，只有深蓝和浅蓝色块",
)
# By a look's style. Training looks are told in the words of sources.json.
LOOKS: dict[str, Words] = {
    **dict.fromkeys(
        (
            *("cil", "eva", "mynaui", "teeny", "bi", "clarity", "guidance"),
            *("healthicons-outline", "iconoir", "majesticons-line", "solar-linear"),
        ),
        LINE,
    ),
    **dict.fromkeys(
        (
            *("fa6", "fontisto", "mynaui-solid", "teeny-solid", "healthicons"),
            *("majesticons", "maki", "solar-bold"),
        ),
        SOLID,
    ),
    **dict.fromkeys(("eva-fill", "bi-fill", "clarity-solid"), BLUE_SOLID),
    **dict.fromkeys(("sharp", "plump"), BLUE_LINED),
    **dict.fromkeys(("sharp-flat", "plump-flat"), BLUE_FLAT),
    "meteocons": words(
        "weather picture with a pale outline",
        "浅色描边天气图",
        "forecast symbols with faint contours",
        "轮廓很淡的天气预报符号",
    ),
    "meteocons-fill": words(
        "shaded gray weather picture",
        "灰色渐变天气图",
        "soft forecast symbols, grey clouds",
        "灰云柔和的天气预报符号",
    ),
    "wi": words(
        "small weather line icon",
        "小巧天气线条图标",
        "forecast signs in strokes",
        "线条画的天气符号",
    ),
    "circle-flags": words(
        "round flag", "圆形旗帜", "country banners cut into circles", "圆圈里的各国国旗"
    ),
    "duo-icons": words(
        "pale two tone icon",
        "淡色双色调图标",
        "pastel shapes with one strong accent",
        "淡淡的形状加一块深色",
    ),
    "emojione": words(
        "bright cartoon emoji", "明亮卡通表情", "cheerful flat smiley art", "欢快的扁平笑脸画风"
    ),
    "emojione-mono": words(
        "black emoji silhouette", "黑色表情剪影", "emoji cut out of black paper", "像黑纸剪出的表情"
    ),
    "flat-color": words(
        "flat icon of many colours",
        "多彩扁平图标",
        "colourful shapes, no contours",
        "无轮廓的彩色形状",
    ),
    "healthicons-negative": words(
        "white icon on a black square",
        "黑色方块上的白色图标",
        "light signs on dark tiles",
        "深色方块里的浅色符号",
    ),
    "marketeq": words(
        "thin line icon in blue and gray",
        "蓝灰细线图标",
        "fine strokes, part blue and part dark",
        "一半蓝一半深色的细线",
    ),
    "pixel": words(
        "pixel outline icon", "像素描边图标", "blocky steps, contours only", "锯齿方块勾的轮廓"
    ),
    "pixel-solid": words(
        "solid pixel icon",
        "像素实心图标",
        "blocky filled shapes, retro game",
        "复古游戏的方块填充形状",
    ),
    "solar-duotone": words(
        "purple two tone icon", "紫色双色调图标", "violet on lilac shapes", "深紫配浅紫的形状"
    ),
    "solar-broken": words(
        "broken line icon", "断开的线条图标", "strokes with gaps in them", "线条上有缺口"
    ),
    "solar-line-duotone": words(
        "blue line icon, half of it pale",
        "一半浅色的蓝色线条图标",
        "strokes in strong and faint blue",
        "深浅不一的蓝色笔画",
    ),
    "streamline-emojis": words(
        "emoji with a dark outline", "深色描边表情", "smileys drawn with contours", "勾了边的笑脸"
    ),
    "kameleon": words(
        "flat picture in a coloured circle",
        "彩色圆形里的扁平图",
        "round badges in bright colours",
        "颜色鲜艳的圆徽章",
    ),
    "kameleon-duo": words(
        "blue picture in a pale blue circle",
        "浅蓝圆形里的蓝色图",
        "round badges all in blue",
        "全是蓝色的圆徽章",
    ),
}
# Effects as people ask for them; as captions tell them they stand in demo/effects.py.
ASKED_EFFECTS: dict[tuple[str, str], tuple[str, str]] = {
    ("colour", "duotone"): ("everything tinted {}", "全部染成{}"),
    ("colour", "neon"): ("shining {} on a night sky", "黑夜里发{}光"),
    ("texture", "stripes"): ("filled with {} horizontal lines", "用{}横线填满"),
    ("texture", "bars"): ("filled with {} upright lines", "用{}竖线填满"),
    ("texture", "diagonal"): ("shaded with slanted {} strokes", "{}斜线打阴影"),
    ("texture", "checker"): ("patterned like a {} chessboard", "像{}棋盘的花纹"),
    ("texture", "dots"): ("covered with {} spots", "布满{}斑点"),
    ("texture", "grid"): ("covered with a {} net", "盖着{}网"),
    ("background", "solid"): ("in front of one {} colour", "后面是一片{}"),
    ("background", "fade"): ("{} behind it, fading away", "后面的{}慢慢变淡"),
    ("background", "rays"): ("{} beams behind it", "后面射出{}光线"),
    ("background", "checker"): ("on a {} chessboard", "在{}棋盘上"),
    ("background", "dots"): ("on {} spotted paper", "在{}波点纸上"),
    ("background", "halo"): ("with a {} halo of light", "带一圈{}光晕"),
}


def words_of_look(look: Look) -> Words:
    """Tell a look in words."""
    if look.style in LOOKS:
        return LOOKS[look.style]
    return Words((look.words[0], look.words_zh[0]), (look.words[-1], look.words_zh[-1]))


def words_of_effect(kind: str, pattern: str, colour: str) -> Words:
    """Tell an effect of demo/effects.py in words."""
    colour_zh = COLOURS[colour][0]
    seen, seen_zh = PATTERNS[kind][pattern]
    asked, asked_zh = ASKED_EFFECTS[kind, pattern]
    return words(
        seen.format(colour),
        seen_zh.format(colour_zh),
        asked.format(colour),
        asked_zh.format(colour_zh),
    )
