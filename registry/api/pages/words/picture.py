"""Searching by a picture, in English and Chinese."""

TEXTS: dict[str, tuple[str, str]] = {
    "picture.by": ("Search by a picture", "以图搜索"),
    "picture.title": ("Adapters of a picture or recipe", "图片或配方中的适配器"),
    "picture.choose": (
        "A picture or a recipe: choose one, or drop it on this page",
        "选择一张图片或一份配方，或将其拖放到本页",
    ),
    "picture.not": (
        "{name} is no picture and no recipe: drop a PNG, JPEG, WebP, GIF or JSON here.",
        "{name} 既不是图片也不是配方：请拖放 PNG、JPEG、WebP、GIF 或 JSON。",
    ),
    "picture.not.files": (
        "Adapters' files are dropped on “My files”.",
        "适配器文件请拖到“我的文件”页。",
    ),
    "picture.button": ("Find its adapters", "查找适配器"),
    "picture.prompt": ("It was asked for:", "它的提示词："),
    "picture.description": ("It shows:", "图片描述："),
    "picture.prompt.search": ("Search for that", "搜索该提示词"),
    "picture.again": ("Draw it again", "重新生成"),
    "picture.found": ("Found here", "在此找到"),
    "picture.missing": ("Named by the picture, and not here", "图片提到但此处没有"),
    "picture.version": ("Civitai version {version}", "Civitai 版本 {version}"),
    "picture.none": (
        "Nothing here made this picture, as far as can be told, and no cover looks like it.",
        "没有发现生成这张图片的适配器，也没有与之相似的封面。",
    ),
    "found.hash": ("made with it (hash)", "图片使用了它（哈希）"),
    "found.version": ("made with it (Civitai)", "图片使用了它（Civitai）"),
    "found.name": ("made with one of this name", "图片使用了同名适配器"),
    "found.cover": ("this is its cover", "就是它的封面"),
    "found.near_cover": ("a cover looks the same", "封面几乎相同"),
    "found.image": ("a cover looks alike", "封面相似"),
    "found.description": ("by its description", "按图片描述"),
}
