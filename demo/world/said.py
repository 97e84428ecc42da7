"""What can be seen of the art's looks and effects, said in several ways in both languages.

A set's own name for its look ("material outline icon") tells little of what is seen. Who looks for
it says what is seen. These phrases are what gradients of looks and effects are known by.
"""

from demo.effects import COLOURS
from demo.world.sources import Look

# What made looks are drawn in: Chinese name, colour.
INKS = {"black": ("黑色", (34, 34, 34)), **COLOURS}
# What is seen of sets' looks -> English and Chinese.
SEEN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "lines": (
        (
            "thin black outlines",
            "a line drawing with fine strokes",
            "contours only, nothing is filled in",
            "drawn with thin dark lines",
            "outline icon",
        ),
        ("细线条勾勒的轮廓", "只有线条，没有填充", "黑色线条图标"),
    ),
    "thick lines": (
        ("thick black lines", "bold outlines", "drawn with heavy strokes", "fat black contours"),
        ("粗黑线条", "粗线勾勒的轮廓"),
    ),
    "filled": (
        (
            "solid black shapes",
            "filled black silhouettes",
            "a black glyph, all filled in",
            "dark silhouette icon",
            "filled icon",
        ),
        ("实心黑色剪影", "填充的黑色图形", "黑色实心图标"),
    ),
    "two tones": (
        (
            "two tone icon",
            "black lines with pale gray filling",
            "outlined and half filled in gray",
            "two shades, one strong and one pale",
        ),
        ("双色调图标", "黑色线条加浅灰填充"),
    ),
    "outlined in blue": (
        ("blue outlines filled with pale blue", "blue borders around a paler blue"),
        ("蓝色描边，淡蓝填充", "淡蓝图形镶蓝边"),
    ),
    "flat blue": (
        (
            "flat blue shapes",
            "blue picture without borders",
            "one deep and one soft blue",
        ),
        ("蓝色扁平图形", "一深一浅两种蓝"),
    ),
    "shaded emoji": (
        ("emoji", "colourful cartoon emoji", "shaded smiley pictures", "glossy colourful picture"),
        ("彩色表情符号", "有光泽的卡通表情"),
    ),
    "flat colours": (
        ("flat colourful picture", "colourful shapes without outlines", "many flat colours"),
        ("彩色扁平图形", "没有描边的彩色图案"),
    ),
    "outlined colours": (
        ("colour picture with thin dark outlines", "coloured drawing with contours"),
        ("多彩描边图", "带轮廓的彩色插图"),
    ),
    "solid": (
        ("3d rendered picture", "smooth gradients, plastic look", "shiny three dimensional"),
        ("立体渐变", "三维塑料质感"),
    ),
    "pixels": (
        ("pixel art", "blocky pixels", "8 bit retro game graphic"),
        ("像素画", "复古游戏的方块像素"),
    ),
    "sketch": (("hand drawn sketch", "rough pen drawing", "doodle"), ("手绘草图", "随手涂鸦")),
    "sticker": (("sticker with a white border", "cartoon sticker"), ("贴纸", "带白边的贴画")),
    "flag": (("national flag", "banner of a country"), ("国旗", "旗帜")),
}
# The training looks of which each can be said, by style.
_SHOWN = {
    "lines": (
        "basil bx carbon covid f7 fluent gis hugeicons icons8 ion-outline lets-icons lucide "
        "lucide-lab material-light mdi-outline mdl2 mingcute ph ph-thin streamline-ultimate "
        "tabler uil uit"
    ),
    "thick lines": "pepicons-pop ph-bold vaadin",
    "filled": (
        "basil-solid bxs f7-fill fluent-contrast fluent-filled foundation game-icons ic-sharp "
        "icon-park-solid ion ion-sharp map-icons mdi mingcute-fill nrk ph-fill tabler-filled "
        "temaki uis"
    ),
    "two tones": (
        "ic-twotone icon-park-twotone lets-duotone pepicons-print ph-duotone si-duotone uim"
    ),
    "outlined in blue": "streamline-core streamline-flex",
    "flat blue": "streamline-core-flat streamline-flex-flat",
    "shaded emoji": "noto noto-v1",
    "flat colours": "fluent-flat fxemoji twemoji",
    "outlined colours": "cyber-color icon-park streamline-ultimate-color",
    "solid": "fluent-color fluent-emoji",
    "pixels": "pixelarticons streamline-pixel",
    "sketch": "freehand freehand-color",
    "sticker": "stickies stickies-duo",
    "flag": "cif flag flagpack",
}
SEEN_OF = {style: seen for seen, styles in _SHOWN.items() for style in styles.split()}
# Beside what demo/effects.py calls them; {} is the colour.
EFFECTS: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {
    ("colour", "duotone"): (
        ("all in shades of {}", "one colour only: {}", "picture in {} tones"),
        ("只有{}一种颜色", "深浅不同的{}"),
    ),
    ("colour", "neon"): (
        ("glowing {} on a black background", "a {} neon sign in the dark"),
        ("黑暗中的{}霓虹灯",),
    ),
    ("texture", "stripes"): (("{} horizontal stripes across it",), ("{}横条纹",)),
    ("texture", "bars"): (("{} vertical stripes across it",), ("{}竖条纹",)),
    ("texture", "diagonal"): (("hatched in {}", "{} diagonal stripes across it"), ("{}斜条纹",)),
    ("texture", "checker"): (("{} checks all over it",), ("{}方格花纹",)),
    ("texture", "dots"): (("{} dots all over it",), ("{}圆点花纹",)),
    ("texture", "grid"): (("crossed {} lines over it",), ("{}交叉线条",)),
    ("background", "solid"): (("on a {} background",), ("{}背景",)),
    ("background", "fade"): (("background fading from white to {}",), ("由白渐变到{}的背景",)),
    ("background", "rays"): (("{} rays spreading from behind",), ("{}光芒背景",)),
    ("background", "checker"): (("checkered {} backdrop",), ("{}方格背景",)),
    ("background", "dots"): (("dotted {} backdrop",), ("{}圆点背景",)),
    ("background", "halo"): (("{} glow around it",), ("{}光晕",)),
}

# Forms of made looks (demo/world/made_looks.py) -> English and Chinese; {} is the colour.
MADE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "line": (
        (
            "thin {} line icon",
            "fine {} outlines",
            "a line drawing in {}",
            "only {} contours, nothing filled in",
            "drawn with thin {} strokes",
        ),
        ("{}细线图标", "{}线条勾勒的轮廓", "只有{}轮廓，没有填充"),
    ),
    "thick line": (
        ("bold {} line icon", "thick {} outlines", "heavy {} strokes", "fat {} contours"),
        ("{}粗线图标", "粗粗的{}轮廓"),
    ),
    "solid": (
        (
            "solid {} icon",
            "{} filled icon",
            "{} silhouettes",
            "all filled in with {}",
            "a {} glyph",
        ),
        ("{}实心图标", "{}实心图形", "{}剪影"),
    ),
    "outlined": (
        (
            "{} outline with pale {} filling",
            "a {} border around a paler {}",
            "outlined in {} and filled with a lighter {}",
        ),
        ("{}描边，淡{}填充", "淡{}图形镶{}边"),
    ),
    "two shades": (
        (
            "flat icon in two shades of {}",
            "flat {} picture, one tone deeper than the other",
            "strong and pale {} side by side",
        ),
        ("深浅{}扁平图标", "一深一浅的{}扁平图形"),
    ),
    "line and shade": (
        (
            "two tone icon of {} lines and light gray areas",
            "{} line icon filled with gray",
            "{} contours over pale gray",
        ),
        ("{}线条加浅灰填充的双色调图标",),
    ),
    "square": (
        ("white icon on a {} square", "a {} tile with a white sign", "light symbol in a {} box"),
        ("{}方块上的白色图标", "{}方格里的白色符号"),
    ),
    "circle": (
        ("white icon on a {} circle", "round {} badge with a white sign", "{} disc, white symbol"),
        ("{}圆形上的白色图标", "{}圆徽章里的白色符号"),
    ),
    "pixels": (
        ("{} pixel icon", "blocky {} pixels, filled", "{} 8 bit game sprite"),
        ("{}像素图标", "{}方块像素画"),
    ),
    "pixel line": (
        ("{} pixel outline", "blocky {} contours", "stair-stepped {} lines"),
        ("{}像素描边图标", "{}锯齿轮廓"),
    ),
    "sketch": (
        ("hand drawn {} sketch", "wobbly {} pen lines", "a {} doodle"),
        ("{}手绘草图", "歪歪扭扭的{}线条"),
    ),
    "gaps": (
        ("{} line icon with gaps", "broken {} lines", "dashed {} contours"),
        ("断开的{}线条", "{}虚线轮廓"),
    ),
    "halftone": (
        ("{} halftone", "made of {} dots", "{} dotted print"),
        ("{}网点", "{}圆点组成的图"),
    ),
    "offset": (
        ("{} lines with a gray shadow", "{} outline, its shadow shifted", "misprinted in {}"),
        ("{}线条加灰色投影",),
    ),
    "blurred": (
        ("blurred {} shape", "soft {} glow without edges", "out of focus, {}"),
        ("模糊的{}图形", "柔和的{}光团"),
    ),
    "shaded": (
        ("{} gradient icon", "{} shading from dark to light", "smooth {} fade inside shapes"),
        ("{}渐变图标", "由深到浅的{}"),
    ),
}


def said_of_look(look: Look) -> list[str]:
    """Return what can be said of a training look, and what its set calls it."""
    seen, seen_zh = SEEN[SEEN_OF[look.style]]
    return [*look.words, *seen, *look.words_zh, *seen_zh]


def said_of_effect(kind: str, pattern: str, colour: str) -> list[str]:
    """Return what can be said of an effect beside its name."""
    said, said_zh = EFFECTS[kind, pattern]
    return [
        *(text.format(colour) for text in said),
        *(text.format(COLOURS[colour][0]) for text in said_zh),
    ]
