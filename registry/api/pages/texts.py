"""The page's words in English and Chinese."""

from typing import Literal

from starlette.requests import Request

Language = Literal["en", "zh"]
COOKIE = "lang"

TEXTS: dict[str, tuple[str, str]] = {
    "title": ("AutoLoRA Registry", "AutoLoRA 模型库"),
    "skip": ("Skip to content", "跳到正文"),
    "nav.search": ("Search", "搜索"),
    "nav.fuse": ("Fuse", "融合"),
    "language": ("Language", "语言"),
    "hero": ("Find LoRAs by what they do", "按效果查找 LoRA"),
    "hero.more": (
        "Describe the image you have in mind. Adapters are found by their weights, by the "
        "pictures made with them, and by what people wrote.",
        "描述你想要的画面。系统会比较适配器的权重、用它生成的图片，以及作者写下的文字。",
    ),
    "search.label": ("What should the images look like?", "你想要什么样的画面？"),
    "search.placeholder": ("a fox in watercolour", "水彩画风格的狐狸"),
    "search.button": ("Search", "搜索"),
    "base_model": ("Base model", "基础模型"),
    "filters": ("Filters", "筛选"),
    "filter.author": ("Author", "作者"),
    "filter.tag": ("Tag", "标签"),
    "filter.licence": ("Licence", "许可证"),
    "filter.hub": ("Hub", "来源"),
    "filter.clear": ("Clear filters", "清除筛选"),
    "likes.like": ("like", "像"),
    "likes.unlike": ("not like", "不像"),
    "likes.more.like": ("More like this", "更多类似"),
    "likes.more.unlike": ("Not like this", "不要这种"),
    "likes.these": ("the adapters given", "所给的适配器"),
    "likes.by": ("Compared by", "比较依据："),
    "likes.by.weights": ("weights", "权重"),
    "likes.by.captions": ("captions", "图片描述"),
    "likes.by.fingerprints": (
        "fingerprints, which tell copies and retrained kin only",
        "指纹（只能识别副本和再训练版本）",
    ),
    "base_model.all": ("all base models", "所有基础模型"),
    "likes.remove": ("Leave out {name}", "去掉 {name}"),
    "picture.by": ("Search by a picture", "以图搜索"),
    "picture.title": ("Adapters of a picture", "图片中的适配器"),
    "picture.choose": (
        "A picture: choose one, or drop it on this page",
        "选择一张图片，或将其拖放到本页",
    ),
    "picture.button": ("Find its adapters", "查找适配器"),
    "picture.prompt": ("It was asked for:", "它的提示词："),
    "picture.prompt.search": ("Search for that", "搜索该提示词"),
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
    "found.captions": ("fits what is seen", "符合画面内容"),
    "try": ("Try", "试试"),
    "recent": ("Recently added", "最近添加"),
    "results": ("{n} adapters in {ms} ms", "{n} 个适配器，用时 {ms} 毫秒"),
    "results.for": ("for {base_model}", "基础模型：{base_model}"),
    "nothing": ("Nothing fits “{text}”", "没有找到与“{text}”相符的适配器"),
    "nothing.more": (
        "Use other words or fewer filters, or choose another base model.",
        "换个说法、减少筛选条件，或选择其他基础模型。",
    ),
    "nothing.show": ("Show the nearest anyway", "仍然显示最接近的"),
    "nothing.nearest": (
        "These come nearest; they probably do something else.",
        "以下是最接近的适配器，但效果很可能不同。",
    ),
    "empty": ("Nothing is indexed yet", "索引中还没有内容"),
    "empty.more": (
        "Run this on the machine of the registry to crawl a hub; then reload this page.",
        "在本机运行下面的命令来抓取模型站，然后刷新本页。",
    ),
    "signal.weights": ("Weights", "权重"),
    "signal.captions": ("Pictures", "图片"),
    "signal.words": ("Words", "文字"),
    "signal.none": ("none", "无"),
    "signal.why": ("Why it was found", "匹配依据"),
    "exact": ("exact match", "精确匹配"),
    "by": ("by {author}", "作者：{author}"),
    "select": ("Select {name} to fuse", "选择 {name} 进行融合"),
    "select.short": ("Select", "选择"),
    "fuse.selected": ("Fuse selected", "融合所选"),
    "fuse.with": ("Fuse with this", "用它融合"),
    "selected": ("selected", "已选"),
    "no_cover": ("No cover", "没有封面"),
    "covers": ("Covers", "封面"),
    "facts": ("Facts", "信息"),
    "trigger_words": ("Trigger words", "触发词"),
    "trigger_words.none": ("None listed.", "未注明。"),
    "tags": ("Tags", "标签"),
    "licence": ("Licence", "许可证"),
    "licence.none": ("not stated", "未注明"),
    "downloads": ("Downloads", "下载次数"),
    "updated": ("Updated", "更新时间"),
    "hub": ("Hub", "来源"),
    "hub.page": ("Page on the hub", "原始页面"),
    "file": ("File", "文件"),
    "size": ("Size", "大小"),
    "download": ("Download", "下载"),
    "copy": ("Copy", "复制"),
    "copied": ("Copied", "已复制"),
    "description": ("Description", "简介"),
    "verdict": ("What the file says", "文件检查结果"),
    "verdict.none": ("The file has not been read yet.", "文件尚未读取。"),
    "verdict.fusable": ("Safe to fuse", "可以融合"),
    "verdict.not_fusable": ("Cannot be fused", "不能融合"),
    "verdict.not_loadable": ("Cannot be loaded", "无法加载"),
    "verdict.reasons": ("To know", "说明"),
    "verdict.trainer": ("Trainer", "训练工具"),
    "verdict.format": ("Format", "格式"),
    "verdict.base_model": ("Base model", "基础模型"),
    "verdict.evidence": ("Known by", "判断依据"),
    "verdict.ranks": ("Rank", "秩"),
    "verdict.layers": ("Layers", "层数"),
    "verdict.missing": ("Layers it leaves alone", "未改动的层"),
    "verdict.zero_layers": ("Layers of zeros", "全零的层"),
    "verdict.kinds": ("Kinds", "类型"),
    "verdict.alpha": ("Scale", "缩放"),
    "verdict.unmatched": ("Layers without a place", "无法对应的层"),
    "verdict.damaged_layers": ("Damaged layers", "损坏的层"),
    "verdict.parts": ("Parts", "组成部分"),
    "verdict.dtype": ("Numbers", "数值类型"),
    "also": ("Also at:", "另见："),
    "duplicates": ("The same again", "重复项"),
    "duplicate.file": ("the same file", "同一文件"),
    "duplicate.tensors": ("the same tensors, another header", "张量相同，文件头不同"),
    "duplicate.change": ("the same effect, written otherwise", "效果相同，写法不同"),
    "duplicate.strength": ("the same effect at another strength", "效果相同，强度不同"),
    "duplicate.near": ("nearly the same effect", "效果几乎相同"),
    "similar": ("Similar weights", "权重相似"),
    "similar.fingerprints": (
        "No weight encoder knows this adapter: compared by fingerprints, which tell copies and "
        "retrained kin, not what images look like.",
        "没有权重编码器认识此适配器：按指纹比较，只能识别副本和再训练版本，不反映画面效果。",
    ),
    "similar.none": (
        "There is nothing to compare this adapter with.",
        "没有可与此适配器比较的内容。",
    ),
    "claim": ("What it is for", "适用的基础模型"),
    "claim.is": ("{who} says: {base_model}.", "{who} 指定：{base_model}。"),
    "claim.withdraw": ("Take it back", "撤回"),
    "claim.who": ("Your name", "你的名字"),
    "claim.button": ("Say so", "指定"),
    "claim.more": (
        "Where its layers allow several base models, your word counts before the hub's and the "
        "file's. What they rule out is noted, and not believed.",
        "当层结构允许多种基础模型时，你的指定优先于来源站和文件的说法；与层结构矛盾的指定会被记录但不采纳。",
    ),
    "verdict.said_by": ("Named by", "指定者"),
    "verdict.scales": ("Applied scale", "实际缩放"),
    "verdict.alphas": ("Alpha", "Alpha"),
    "state.refused": ("Refused", "已拒绝"),
    "state.gone": (
        "Gone from its hub; what was known of it stays here.",
        "已从来源站下架；这里保留其信息。",
    ),
    "state.listed": ("Listed, not fetched yet", "已列出，尚未下载"),
    "mature": ("mature", "成人内容"),
    "fuse": ("Fuse adapters into one image", "将多个适配器融合为一张图"),
    "fuse.prompt": ("Prompt", "提示词"),
    "fuse.adapters": ("Adapters", "适配器"),
    "fuse.auto": (
        "None chosen: the ones that suit the prompt are found for you.",
        "未选择：系统会根据提示词自动挑选。",
    ),
    "fuse.k": ("At most", "最多"),
    "fuse.strength": ("Strength", "强度"),
    "fuse.remove": ("Remove", "移除"),
    "fuse.seed": ("Seed", "随机种子"),
    "fuse.steps": ("Steps", "步数"),
    "fuse.mode": ("How", "方式"),
    "mode.gated": ("gated", "门控"),
    "mode.average": ("average", "平均"),
    "mode.sum": ("plain sum", "直接相加"),
    "mode.base": ("without adapters", "不用适配器"),
    "fuse.button": ("Make the image", "生成图片"),
    "fuse.queued": ("Waiting for its turn…", "排队中……"),
    "fuse.loading": ("Choosing and loading adapters…", "正在挑选并加载适配器……"),
    "fuse.step": ("Step", "步骤"),
    "fuse.stop": ("Stop", "停止"),
    "fuse.stopped": ("Stopped.", "已停止。"),
    "fuse.lost": (
        "The connection to the registry was lost; see that it runs, then try again.",
        "与服务器的连接已断开；请确认服务在运行后重试。",
    ),
    "fuse.result": ("Result", "结果"),
    "fuse.result.none": (
        "The image appears here, with its recipe and how far each adapter's gates opened.",
        "图片会显示在这里，并附上配方与各适配器的门控活跃度。",
    ),
    "fuse.activity": ("Gate activity", "门控活跃度"),
    "fuse.recipe": ("Recipe", "配方"),
    "fuse.recipe.copy": ("Copy recipe", "复制配方"),
    "fuse.save": ("Save PNG", "保存 PNG"),
    "fuse.noscript": (
        "Making images from this page needs JavaScript. Without it, use `autolora fuse`.",
        "在本页生成图片需要 JavaScript；也可以使用命令 autolora fuse。",
    ),
    "fuse.no_base": (
        "No image can be made here: REGISTRY_BASE_MODELS names no folder for this base model.",
        "无法生成图片：REGISTRY_BASE_MODELS 中没有该基础模型的目录。",
    ),
    "footer": ("{n} adapters ready", "{n} 个适配器可用"),
    "footer.run": ("last refresh {when}: {state}", "最近刷新 {when}：{state}"),
    "footer.api": ("API description", "接口说明"),
    "error.home": ("Back to search", "返回搜索"),
}


def text_of(language: Language, key: str, **values: object) -> str:
    return TEXTS[key][language == "zh"].format(**values)


def language_of(request: Request) -> Language:
    """Return the language chosen by `?lang=`, else by cookie, else by the browser."""
    for chosen in (request.query_params.get(COOKIE), request.cookies.get(COOKIE)):
        if chosen == "en":
            return "en"
        if chosen == "zh":
            return "zh"
    # The first language that is one of ours; browsers list them by preference.
    for accepted in request.headers.get("accept-language", "").lower().split(","):
        if accepted.strip().startswith("zh"):
            return "zh"
        if accepted.strip().startswith("en"):
            return "en"
    return "en"
