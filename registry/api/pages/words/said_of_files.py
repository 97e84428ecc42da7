"""What is said of files and of what lies beside them, English and Chinese."""

FILES = (
    ("taken out by a person", "已被人移除"),
    # How a base model is known.
    ("all {n} layers exist in {base} with these shapes", "全部 {n} 层都存在于 {base}，形状一致"),
    ("its one layer exists in {base} with this shape", "唯一的一层存在于 {base}，形状一致"),
    (
        "{n} of {all} layers exist in {base} with these shapes, but {layer} ({size}) does not",
        "{all} 层中有 {n} 层存在于 {base} 且形状一致，但 {layer}（{size}）不在其中",
    ),
    (
        "none of the {n} layers exists in a base model known here",
        "{n} 层都不属于已知的基础模型",
    ),
    ("its one layer exists in no base model known here", "唯一的一层不属于已知的基础模型"),
    ("no layer of a diffusion network is changed", "没有改动扩散网络的任何层"),
    ("layers fit no base model known here", "各层不符合任何已知的基础模型"),
    (
        "{n} of {all} layers do not fit {base}, the closest",
        "{all} 层中有 {n} 层与最接近的 {base} 不符",
    ),
    ("{n} of {all} modules fit none: {name}", "{all} 个模块中有 {n} 个无法对应：{name}"),
    ("adapters of {bases} are rare", "{bases} 的适配器很少见"),
    ("only {base} has no block beyond these", "只有 {base} 没有更多的块"),
    (
        "text encoders {widths} wide are those of {bases}",
        "宽度为 {widths} 的文本编码器属于 {bases}",
    ),
    ("{claim}, which its layers rule out", "{claim}，但与层结构矛盾"),
    ("its layers' names begin with {prefix}", "各层名称以 {prefix} 开头"),
    ("{hub} lists it for {base}", "{hub} 将其列为 {base}"),
    ("you say {base}", "你指定为 {base}"),
    ("somebody says {base}", "有人指定为 {base}"),
    ("{who} says {base}", "{who} 注明为 {base}"),
    # Why it is refused.
    (
        "is no adapter but a whole model or a part of one: a checkpoint, a VAE, a text encoder, "
        "an upscaler or the like",
        "不是适配器，而是完整模型或其一部分（基础模型、VAE、文本编码器、放大模型等）",
    ),
    ("is a textual inversion, not a LoRA", "是文本反转嵌入，不是 LoRA"),
    ("changes only kernels over time and modulations", "只改动了时间维卷积核与调制表"),
    (
        "changes no layer of an image model, only {parts}: a text encoder's half of an adapter",
        "没有改动图像模型的任何层，只有 {parts}：这是适配器的文本编码器部分",
    ),
    # What is wrong with a file, or with what lies beside it.
    ("refused: {claim}", "已拒绝：{claim}"),
    ("is a link that leads to nothing", "是失效的链接"),
    ("is a web page, not a file of weights", "是网页，不是权重文件"),
    ("is a pipe; save what comes from it as a file first", "是管道：请先把内容存成文件"),
    (
        "is called .sft: rename it to .safetensors, and it is read",
        "扩展名是 .sft：改名为 .safetensors 后即可读取",
    ),
    (
        "is safetensors under another ending: rename it to .safetensors, and it is read",
        "内容是 safetensors，扩展名却不是：改名为 .safetensors 后即可读取",
    ),
    ("is what a site answered in place of it: {answer}", "是网站返回的消息，不是文件：{answer}"),
    (
        "is a Git LFS pointer, not the file it points to; only safetensors are read",
        "是 Git LFS 指针，不是它指向的文件；只读取 safetensors",
    ),
    ("is {what}; only safetensors are read", "不是 safetensors 文件（{what}）；只读取 safetensors"),
    (
        "is a pickle or a zip archive (PyTorch writes both): such files can run code, so it was "
        "not read. Convert it to safetensors: {command}",
        "是 pickle 或 zip 压缩包（PyTorch 两种都会写）：这类文件可能执行代码，因此没有读取。"
        "请转换为 safetensors：{command}",
    ),
    ("{claim}: it was cut off; download or copy it again", "{claim}：文件不完整，请重新下载或复制"),
    ("header of {n} bytes in a file of {all}", "文件头应有 {n} 字节，而文件只有 {all} 字节"),
    (
        "header describes {n} bytes of data, the file has {all}",
        "文件头描述了 {n} 字节的数据，而文件中有 {all} 字节",
    ),
    ("{n} bytes are too few for a safetensors file", "{n} 字节太少，不是完整的 safetensors 文件"),
    # What a hub does not have, or why it was not listed.
    (
        "the repository lists no safetensors file with a sha256",
        "该仓库没有带 sha256 的 safetensors 文件",
    ),
    (
        "the repository has no safetensors file of an adapter",
        "该仓库没有适配器的 safetensors 文件",
    ),
    ("none of its versions lists a safetensors file", "它的所有版本都没有 safetensors 文件"),
    ("its author has archived it", "作者已将其归档"),
    ("Civitai has taken it down", "Civitai 已将其下架"),
    (
        "the name {name} cannot be resolved ({why}). Check the network and the name.",
        "无法解析名称 {name}（{why}）。请检查网络和名称。",
    ),
    (
        "{hub} does not answer ({why}). Check the network and {setting}, then run again: it goes "
        "on where it stopped.",
        "{hub} 没有响应（{why}）。请检查网络和 {setting}，然后重新运行：会从中断处继续。",
    ),
    (
        "begins with zeros: its download broke off, or a disk lost it",
        "以零开头：下载中断，或磁盘丢失了内容",
    ),
    (
        "is not safetensors: no JSON where its header should be",
        "不是 safetensors：文件头的位置没有 JSON",
    ),
    (
        "{file} is not JSON: {cause} (line {line}, column {column}); nothing of it was taken",
        "{file} 不是 JSON：请检查第 {line} 行第 {column} 列；其内容未被采用",
    ),
    (
        "{file} is not JSON: {cause}; nothing of it was taken",
        "{file} 不是 JSON：{cause}；其内容未被采用",
    ),
    (
        "{file} holds {what}, not a JSON object; nothing of it was taken",
        "{file} 的内容是{what}，不是 JSON 对象；其内容未被采用",
    ),
    ("a list", "列表"),
    ("a text", "文本"),
    ("true or false", "布尔值"),
    ("null", "空值"),
    ("a number", "数字"),
    (
        "{file} is not written in UTF-8: save it so; nothing of it was taken",
        "{file} 不是 UTF-8 编码，请另存为 UTF-8；其内容未被采用",
    ),
    ("{file} is empty; nothing of it was taken", "{file} 是空文件；其内容未被采用"),
    ("{file} is larger than 1 MB; nothing of it was taken", "{file} 大于 1 MB；其内容未被采用"),
    (
        "{file} has front matter of over 64 KB; nothing of it was taken",
        "{file} 开头的元数据（front matter）超过 64 KB；其内容未被采用",
    ),
    (
        "{file} has front matter that is not YAML: {cause} (line {line}); nothing of it was taken",
        "{file} 开头的元数据（front matter）不是 YAML：请检查第 {line} 行；其内容未被采用",
    ),
    (
        "{file} has front matter that is not YAML: {cause}; nothing of it was taken",
        "{file} 开头的元数据（front matter）不是 YAML：{cause}；其内容未被采用",
    ),
    (
        "{file} has front matter that holds {what}, not names and values; nothing of it was taken",
        "{file} 开头的元数据（front matter）是{what}，不是键和值；其内容未被采用",
    ),
    ("cover {n}: {claim}", "第 {n} 张封面：{claim}"),
    (
        "{host} is this machine itself and not on the public internet",
        "{host} 是本机地址，不在公共互联网上",
    ),
    ("{host} is not on the public internet", "{host} 不在公共互联网上"),
    # What is wrong with a picture.
    ("the picture is empty", "图片是空的"),
    ("the picture is larger than 32 MB", "图片大于 32 MB"),
    ("the picture is a git LFS pointer, not the image itself", "是 Git LFS 指针，不是图片本身"),
    ("the picture is an HTML page", "是网页，不是图片"),
    ("the picture is an SVG or XML document", "是 SVG 或 XML 文档"),
    ("the picture is JSON", "是 JSON，不是图片"),
    ("the picture is a video, or HEIF", "是视频或 HEIF 图片"),
    ("the picture is no image of a kind that we know", "不是可识别的图片"),
    ("the picture is a broken image: {why}", "图片已损坏（{why}）"),
    ("the picture has {size} pixels, more than we decode", "图片有 {size} 像素，超过可读取的上限"),
    ("the picture is a JPEG of more than {count} scans", "图片是扫描次数超过 {count} 的 JPEG"),
    ("the picture has {size} pixels, too few to show", "图片只有 {size} 像素，太小"),
    ("the picture has far more pixels than we decode", "图片像素数远超可读取的上限"),
    ("changes no layer of an image model", "没有改动图像模型的任何层"),
    # How strong it is.
    ("1: the file has no alpha", "1：文件没有 alpha"),
    (
        "1: no layer is factored, and alpha means nothing there",
        "1：没有分解的层，alpha 不起作用",
    ),
    ("alpha / rank, from a tensor of each layer", "alpha / 秩，取自每层的张量"),
    (
        "alpha / rank, from a tensor of {n} of {all} layers",
        "alpha / 秩，取自 {all} 层中 {n} 层的张量",
    ),
    ("alpha / rank, from the metadata", "alpha / 秩，取自元数据"),
    ("alpha / rank, from {file}", "alpha / 秩，取自 {file}"),
    ("alpha / √rank, from the metadata", "alpha / √秩，取自元数据"),
    ("alpha / √rank, from {file}", "alpha / √秩，取自 {file}"),
    (
        "PEFT keeps alpha in {file}; without it, scale 1 is taken",
        "PEFT 把 alpha 存放在 {file} 中；没有该文件时按 1 缩放",
    ),
    # Why it cannot be loaded or fused, and what to know.
    (
        "without a place in {base}, and left out: {layers}",
        "在 {base} 中没有对应位置，已略去：{layers}",
    ),
    (
        "1 layer fits no base model known here: {layers}",
        "有 1 层不符合任何已知的基础模型：{layers}",
    ),
    (
        "{n} layers fit no base model known here: {layers}",
        "有 {n} 层不符合任何已知的基础模型：{layers}",
    ),
    ("{n} layers hold NaN or infinity: {layers}", "有 {n} 层含有 NaN 或无穷大：{layers}"),
    ("1 layer holds NaN or infinity: {layers}", "有 1 层含有 NaN 或无穷大：{layers}"),
    ("the base model is not known for certain: {claim}", "无法确定基础模型：{claim}"),
    ("the base model is not known for certain", "无法确定基础模型"),
    (
        "{base} makes videos, and only images are fused here",
        "{base} 生成视频，而这里只融合图片",
    ),
    (
        "it may be for {bases}: a claim says which",
        "可能适用于 {bases}，需要声明是哪一个",
    ),
    ("adapters of {base} are not fused here", "这里不融合 {base} 的适配器"),
    ("fusion would lose {parts}", "融合会丢失：{parts}"),
    ("it changes no layer that fusion works on", "没有改动融合所涉及的层"),
    ("{n} of {all} layers are zero", "{all} 层中有 {n} 层全为零"),
    ("1 of {all} layers is zero", "{all} 层中有 1 层全为零"),
    ("1 of 1 layer is zero", "唯一的一层全为零"),
    ("it has no effect", "没有任何效果"),
    (
        "it takes as much memory, fused, as the layers that it changes",
        "融合时占用的内存与它改动的层一样多",
    ),
    (
        "its {n} layers of {part} are left out: prompts are read as without it",
        "略去 {part} 的 {n} 层：提示词按没有它时解读",
    ),
    (
        "its 1 layer of {part} is left out: prompts are read as without it",
        "略去 {part} 的 1 层：提示词按没有它时解读",
    ),
    (
        "its trained embeddings ({n}) are left out, and so their words",
        "略去训练过的嵌入（{n} 个）及其触发词",
    ),
    (
        "{n} layers are there twice, alike, and taken once",
        "有 {n} 层重复出现且相同，只取一次",
    ),
    ("1 layer is there twice, alike, and taken once", "有 1 层重复出现且相同，只取一次"),
    (
        "{n} layers are there twice, once as zeros, which are left out",
        "有 {n} 层重复出现，其中全为零的一份已略去",
    ),
    (
        "1 layer is there twice, once as zeros, which are left out",
        "有 1 层重复出现，其中全为零的一份已略去",
    ),
    ("{n} layers are there twice", "有 {n} 层重复出现"),
    ("1 layer is there twice", "有 1 层重复出现"),
)
