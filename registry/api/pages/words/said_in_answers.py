"""What the API says when it cannot do what is asked, English and Chinese."""

ANSWERS = (
    (
        "the query is empty; describe what the images should look like.",
        "请输入搜索内容：描述你想要的画面。",
    ),
    (
        "the query has {n} characters; at most {most} are searched for.",
        "搜索内容有 {n} 个字符，最多 {most} 个。",
    ),
    (
        "cannot search like this: all of it is what results should be unlike, nothing what like. "
        "Give a text or up to {n} adapters that results should be like, and up to {m} others that "
        "they should be unlike.",
        "无法这样搜索：只说明了不要像什么。请给出文字，或最多 {n} 个要相像的适配器；"
        "不要相像的最多 {m} 个。",
    ),
    (
        "cannot search like this: {count} adapters are given as {side}; {most} may be. "
        "Give a text or up to {n} adapters that results should be like, and up to {m} others that "
        "they should be unlike.",
        "无法这样搜索：{side} 给出了 {count} 个适配器，最多 {most} 个。",
    ),
    (
        "cannot search like this: adapter {id} is given both as 'like' and as 'unlike'. "
        "Give a text or up to {n} adapters that results should be like, and up to {m} others that "
        "they should be unlike.",
        "无法这样搜索：适配器 {id} 同时出现在 like 和 unlike 中。",
    ),
    (
        "adapter {id} is not moved to the trash: it is not in a folder of yours.",
        "适配器 {id} 没有移到回收站：它不在你的文件夹中。",
    ),
    (
        "{path} is not moved to the trash: it has changed since it was indexed.",
        "{path} 没有移到回收站：建立索引后文件已有变化。",
    ),
    ("{path} is not moved to the trash: {why}.", "{path} 没有移到回收站：{why}。"),
    (
        "there is no adapter for base model {base}. Nothing is indexed yet.",
        "没有适用于基础模型 {base} 的适配器；索引中还没有内容。",
    ),
    (
        "no adapter has the {filter} {value}. None has any.",
        "没有适配器符合 {filter} = {value}；目前没有可选的值。",
    ),
    ("there is no image {id}; it may have been removed.", "没有编号为 {id} 的图片，可能已被删除。"),
    ("image {id} has no picture; its state is: {state}.", "图片 {id} 尚无画面，状态：{state}。"),
    (
        "there is no preview of image {id}: only what this server has drawn for a second has one, "
        "until it is done.",
        "图片 {id} 没有预览：只有本服务器正在生成、且已开始至少一秒的图片才有。",
    ),
    (
        "adapter {id} ({name}) came with a cover; only those without are drawn one.",
        "适配器 {id}（{name}）自带封面；只为没有封面的适配器生成。",
    ),
    ("adapter {id} was not taken out by a person.", "适配器 {id} 并未被人移除。"),
    ("no image can be drawn: a prompt or a recipe is needed.", "无法生成图片：需要提示词或配方。"),
    (
        "no image can be drawn: a grid wants 2 to {n} adapters.",
        "无法生成图片：网格图需要 2 到 {n} 个适配器。",
    ),
    (
        "no image can be drawn: it takes {most} adapters at most; {named} are named, and the "
        "prompt calls for {called} (<lora:…>). Take out {n}.",
        "无法生成图片：最多使用 {most} 个适配器；已指定 {named} 个，提示词又调用了 {called} 个"
        "（<lora:…>）。请去掉 {n} 个。",
    ),
    (
        "no image can be drawn: the prompt calls for {name} at a strength of {strength}; give "
        "{least} to {most}.",
        "无法生成图片：提示词以强度 {strength} 调用 {name}；请使用 {least} 到 {most}。",
    ),
    (
        "no image can be drawn: this server draws up to {n} steps and {size} pixels a side, with "
        "{adapters} adapters; the recipe has {steps} steps, {pixels} pixels and {used} adapters. "
        "`autolora --local fuse --recipe` draws it.",
        "无法生成图片：本服务器最多 {n} 步，每边最多 {size} 像素，最多 {adapters} 个适配器；"
        "该配方有 {steps} 步、{pixels} 像素和 {used} 个适配器。"
        "可用 `autolora --local fuse --recipe` 生成。",
    ),
    ("{size} pixels: use multiples of {n}", "{size} 像素：宽和高须为 {n} 的倍数"),
    (
        "{size} pixels: this base draws {own}; use {most} at most",
        "{size} 像素：该基础模型生成 {own}，每边最多 {most}",
    ),
    ("{n} steps: use 1 to {most}", "{n} 步：请使用 1 到 {most} 步"),
    (
        "no image can be drawn: a recipe says all that there is to say; give nothing else.",
        "无法生成图片：配方已包含全部信息，请不要再给其他参数。",
    ),
    (
        "this Idempotency-Key was sent with another request; take a fresh one.",
        "此 Idempotency-Key 已用于另一个请求，请换一个新的。",
    ),
    (
        "this request is being answered; send it again in a moment.",
        "该请求正在处理中，请稍后再次发送。",
    ),
    (
        "no gates are configured for base model {base}; set {setting}, or choose mode 'average'.",
        "没有为基础模型 {base} 设置门控；请设置 {setting}，或选择融合方式“平均”（average）。",
    ),
    (
        "making images needs {names}, not installed here; install them with {command}.",
        "生成图片需要 {names}，这里尚未安装；请用 {command} 安装。",
    ),
    (
        "adapter {id} cannot be fused: it was trained on {got}, and {base} is loaded; choose one "
        "for that",
        "适配器 {id} 不能融合：它基于 {got} 训练，而当前加载的是 {base}；请选择适用于它的适配器",
    ),
    ("adapter {id} cannot be fused: {claim}", "适配器 {id} 不能融合：{claim}"),
    (
        "out of memory at {size} pixels with {n} adapters; draw smaller, load fewer adapters, or "
        "set {setting} (or =layers, slower still)",
        "内存不足（{size} 像素，{n} 个适配器）；请减小尺寸、减少适配器，"
        "或设置 {setting}（也可用 =layers，更慢）",
    ),
    (
        "out of memory at {size} pixels with 1 adapter; draw smaller, load fewer adapters, or "
        "set {setting} (or =layers, slower still)",
        "内存不足（{size} 像素，1 个适配器）；请减小尺寸、减少适配器，"
        "或设置 {setting}（也可用 =layers，更慢）",
    ),
    (
        "no ComfyUI is known here; set REGISTRY_COMFYUI_URL to its address, such as "
        "http://127.0.0.1:8188.",
        "没有设置 ComfyUI；请把 REGISTRY_COMFYUI_URL 设为它的地址，例如 http://127.0.0.1:8188。",
    ),
    (
        "ComfyUI at {url} does not answer ({cause}); see that it runs, and that "
        "REGISTRY_COMFYUI_URL is its address.",
        "ComfyUI（{url}）没有响应（{cause}）；请确认它在运行，且 REGISTRY_COMFYUI_URL 是它的地址。",
    ),
    ("ComfyUI at {url} refuses the workflow: {cause}", "ComfyUI（{url}）拒绝了工作流：{cause}"),
    (
        "ComfyUI at {url} lacks {files}; put them into its models folder "
        "(`autolora export RECIPE --files FILE.zip` packs adapters under these names).",
        "ComfyUI（{url}）缺少 {files}；请放入它的模型文件夹"
        "（`autolora export RECIPE --files FILE.zip` 会按这些名字打包适配器）。",
    ),
    ("ComfyUI is not known to run {base}", "没有已知的方法让 ComfyUI 运行 {base}"),
    (
        "{base} has no text encoders of its own: no other program draws with it",
        "{base} 没有自己的文本编码器，其他程序无法用它生成图片",
    ),
    ("no other program is known to draw with {kind}", "没有已知的其他程序能用 {kind} 生成图片"),
    # What is wrong with a recipe, or with what it asks for.
    (
        "image {id} has no recipe: it is a sheet, or was not finished",
        "图片 {id} 没有配方：它是对比图或网格图，或者没有完成",
    ),
    ("not a recipe of schema 1 or 2: {claim}", "不是格式（schema）1 或 2 的配方：{claim}"),
    (
        "what was sent is not a recipe of schema 1 or 2: {claim}",
        "图片中的不是格式（schema）1 或 2 的配方：{claim}",
    ),
    ("{field}: Field required", "缺少 {field}"),
    (
        "what was sent carries no recipe; was it saved by another program?",
        "发送的图片不含配方；它是否由其他程序另存过？",
    ),
    (
        "what was sent has more pixels than any image of ours",
        "发送的图片的像素数超过这里生成的任何图片",
    ),
    (
        "what was sent cannot be read: cannot identify image file",
        "无法读取发送的内容：不是可识别的图片",
    ),
    ("what was sent cannot be read: {why}", "无法读取发送的内容：{why}"),
    (
        "this server draws up to {n} steps and {size} pixels a side; the recipe has {steps} steps "
        "and {width} x {height} pixels. `autolora fuse --recipe` draws it.",
        "本服务器最多 {n} 步，每边最多 {size} 像素；配方中是 {steps} 步、{width} x {height} 像素。"
        "可用 `autolora fuse --recipe` 生成。",
    ),
    ("the recipe cannot be followed: {claim}", "无法按配方生成：{claim}"),
    ("adapter {name} ({sha256}) is missing", "缺少适配器 {name}（{sha256}）"),
    (
        "adapter {name} is scaled by {here} here, by {there} there: its {file} is another",
        "适配器 {name} 在这里的缩放为 {here}，配方中为 {there}：{file} 不同",
    ),
    ("the base {base} has other files than it had", "基础模型 {base} 的文件与配方中的不同"),
    ("the gates are others", "门控与配方中的不同"),
    (
        "adapter {name} has {n} leanings, and the gates ask for {all}",
        "适配器 {name} 有 {n} 个倾向值，而门控需要 {all} 个",
    ),
    # What is wrong with gates and with adapters, once they are loaded.
    ("the gates are for {got}, and {base} is loaded", "门控适用于 {got}，而当前加载的是 {base}"),
    (
        "no gate for layer {layers} and {n} more; use gates trained for this base, "
        "or mode 'average'",
        "{layers} 等层（另有 {n} 层）没有门控；请使用为该基础模型训练的门控，"
        "或选择融合方式“平均”（average）",
    ),
    (
        "no gate for layer {layers}; use gates trained for this base, or mode 'average'",
        "层 {layers} 没有门控；请使用为该基础模型训练的门控，或选择融合方式“平均”（average）",
    ),
    (
        "layer {layer} holds NaN or infinite weights; fetch the file again",
        "层 {layer} 含有 NaN 或无穷大的权重；请重新获取文件",
    ),
    ("This needs a token of the scope {scope}.", "此操作需要带 {scope} 权限的令牌。"),
    ("This token is not known here, or was revoked.", "令牌无效，或已被撤销。"),
    ("Too many {what} from here; ask again in {n} s.", "请求过多，请在 {n} 秒后再试。"),
    (
        "This server wants a token, as `Authorization: Bearer …`.",
        "访问此服务器需要令牌（`Authorization: Bearer …`）。",
    ),
    (
        "there is no adapter {id}. {where} lists the ones here.",
        "没有编号为 {id} 的适配器。",
    ),
    (
        "a number is too large to be that of anything here ({why}).",
        "数字过大，这里没有这样的编号或数值（{why}）。",
    ),
    ("adapter {id} has no cover {n}.", "适配器 {id} 没有第 {n} 张封面。"),
    (
        "there is no adapter for base model {base}. Ready are: {names}.",
        "没有适用于基础模型 {base} 的适配器。现有：{names}。",
    ),
    (
        "no adapter has the {filter} {value}. There are, among others: {names}.",
        "没有适配器符合 {filter} = {value}。可选的有：{names} 等。",
    ),
    (
        "no adapter has the {filter} {value}. There are: {names}.",
        "没有适配器符合 {filter} = {value}。可选的有：{names}。",
    ),
    ("{name} is {value}; it is one of {names}.", "{name} 的值 {value} 无效，应为 {names} 之一。"),
    (
        "{name} is {value}; write a size, like 200MB or 1.5GB.",
        "{name} 的值 {value} 无效，请写成大小，例如 200MB 或 1.5GB。",
    ),
    (
        "{name} is {value}; write a whole number, like 16.",
        "{name} 的值 {value} 无效，请写成整数，例如 16。",
    ),
    (
        "{name} is {value}; write a day, like 2026-01-31.",
        "{name} 的值 {value} 无效，请写成日期，例如 2026-01-31。",
    ),
    (
        "{low} is {least} and {high} is {most}: nothing is both.",
        "{low} 为 {least}，{high} 为 {most}：不可能同时满足。",
    ),
    (
        "cannot search by this: {claim}. Give a whole PNG, JPEG, WebP or GIF, of at most "
        "40 million pixels and 32 MB.",
        "无法用它搜索：{claim}。请使用完整的 PNG、JPEG、WebP 或 GIF 图片，"
        "不超过 4000 万像素、32 MB。",
    ),
    (
        "this cursor is none of ours; use the `next` of a page, or none.",
        "该分页位置无效，请从第一页开始。",
    ),
    (
        "this cursor is of another question; ask with the text, filters and order that the page "
        "before was asked with, or without a cursor.",
        "该分页位置属于另一次搜索，请从第一页开始。",
    ),
    (
        "nothing is indexed yet; run `autolora refresh` to crawl a hub, or `autolora refresh "
        "--source FOLDER` for files of your own.",
        "索引中还没有内容；请运行 `autolora refresh` 抓取模型站，"
        "或用 `autolora refresh --source 文件夹` 添加自己的文件。",
    ),
    (
        "the prompt calls for <lora:{name}>, and no adapter here is called so; take it out of the "
        "prompt, or write the name of a file that is here.",
        "提示词调用了 <lora:{name}>，但这里没有这个名字的适配器；请从提示词中去掉，"
        "或改写为这里已有文件的名字。",
    ),
    (
        "no adapter for {base} suits {prompt}; use other words, or name adapters.",
        "没有适合 {prompt} 的 {base} 适配器；请换个说法，或自行选择适配器。",
    ),
    (
        "adapter {id} ({name}) has no file here; {where} says why.",
        "适配器 {id}（{name}）在此没有文件。",
    ),
    (
        "{n} strengths were given for {all} adapters; give one for each adapter that is named, in "
        "the same order.",
        "给出了 {n} 个强度，但有 {all} 个适配器；请按相同顺序为每个适配器各给一个。",
    ),
    (
        "{n} strengths were given for {all} adapter; give one for each adapter that is named, in "
        "the same order.",
        "给出了 {n} 个强度，但有 {all} 个适配器；请按相同顺序为每个适配器各给一个。",
    ),
    (
        "{n} strength was given for {all} adapters; give one for each adapter that is named, in "
        "the same order.",
        "给出了 {n} 个强度，但有 {all} 个适配器；请按相同顺序为每个适配器各给一个。",
    ),
    (
        "{path} cannot be added: it is part of {folder}, which is watched already.",
        "无法添加 {path}：它在已监视的 {folder} 之内，其中的文件会一并收录。",
    ),
    (
        "{path} cannot be added: this registry's own files lie there.",
        "无法添加 {path}：那里存放着本模型库自己的文件。",
    ),
    (
        "{path} cannot be added: write the whole path, from its root on.",
        "无法添加 {path}：请填写完整的绝对路径。",
    ),
    (
        "{path} cannot be added: no such file or directory.",
        "无法添加 {path}：文件夹不存在。",
    ),
    ("{path} cannot be added: not a directory.", "无法添加 {path}：它不是文件夹。"),
    ("{path} cannot be added: permission denied.", "无法添加 {path}：没有读取它的权限。"),
    (
        "{name} is not taken: only files called something.safetensors are taken.",
        "未接收 {name}：只接收 .safetensors 文件。",
    ),
    (
        "{name} is not taken: its path holds control characters; rename it.",
        "未接收 {name}：名称中有控制字符，请改名。",
    ),
    (
        "{name} is not taken: its name has over {n} bytes; rename it.",
        "未接收 {name}：名称超过 {n} 字节，请改名。",
    ),
    (
        "{name} is not taken: another file of this name is here; rename it.",
        "未接收 {name}：这里已有同名的另一个文件，请改名。",
    ),
    ("{path} is not among the folders that are watched.", "{path} 不在监视的文件夹之中。"),
    (
        "no folder is configured for base model {base}; set {setting}.",
        "没有为基础模型 {base} 设置文件夹；请设置 {setting}。",
    ),
    (
        "no adapter that is ready here has a file with the hash {sha256}.",
        "这里没有可用的适配器拥有哈希为 {sha256} 的文件。",
    ),
    (
        "Range asks for what the file does not have; its length is in Content-Range.",
        "Range 所请求的部分超出文件；文件长度见 Content-Range。",
    ),
    (
        "Range is none that can be read; write it as bytes=0-1023.",
        "无法识别 Range；请写成 bytes=0-1023 的形式。",
    ),
    (
        "the file of {name} was refused and is not handed out: {reason}",
        "{name} 的文件已被拒绝，不提供下载：{reason}",
    ),
    (
        "too many images are waiting to be made; try again in a moment.",
        "等待生成的图片过多，请稍后再试。",
    ),
    (
        "too many pictures are sent at once; try again in a moment.",
        "同时上传的图片过多，请稍后再试。",
    ),
    (
        "too many files and covers are sent at once; try again in a moment.",
        "同时发送的文件和封面过多，请稍后再试。",
    ),
    (
        "too many watch what is under way at once; try again in a moment.",
        "同时查看进度的连接过多，请稍后再试。",
    ),
    ("the database does not keep up; try again in a moment.", "数据库繁忙，请稍后再试。"),
    (
        "The database cannot be reached; send the request again in a moment. "
        "The registry's log has the reason.",
        "数据库无法连接，请稍后再次发送请求。原因见服务器日志。",
    ),
    ("The registry's disk is full.", "服务器磁盘已满。"),
    (
        "The registry may not write to its disk; its log has the reason.",
        "服务器无法写入磁盘，原因见日志。",
    ),
    ("The registry could not do this; its log has the reason.", "操作未能完成；原因见服务器日志。"),
    (
        "The base model cannot be loaded; the registry's log has the reason.",
        "基础模型无法加载；原因见服务器日志。",
    ),
    (
        "The base model's gates cannot be loaded; the registry's log has the reason.",
        "基础模型的门控无法加载；原因见服务器日志。",
    ),
    ("This is a bug in the registry; its log has the details.", "这是程序错误；详情见服务器日志。"),
    ("Not Found", "此地址没有内容。"),
    (
        "nothing is at this address; /docs lists all that there are.",
        "此地址没有内容；所有地址见 /docs。",
    ),
    (
        "{method} is not for this address; {allowed} may be.",
        "此地址不支持 {method}；可用 {allowed}。",
    ),
    ("there is no {name}; is {near} meant?", "没有 {name}；是否指 {near}？"),
    ("there is no {name}; there are {names}.", "没有 {name}；可用的有 {names}。"),
    ("{value} is no image's number", "{value} 不是图片的编号"),
    ("{name}: came {n} times; give it once", "{name}：出现了 {n} 次，请只给一次"),
    ("the body is no JSON: {why}, at letter {n}", "请求体不是 JSON（第 {n} 个字符：{why}）"),
    (
        "the body was sent as {kind}; send it with Content-Type: application/json",
        "请求体的类型是 {kind}；请加上 Content-Type: application/json",
    ),
    (
        "What was sent is too large: at most {size} are taken here.",
        "发送的内容过大：这里最多接收 {size}。",
    ),
    (
        "no base model known here is called {name}; did you mean {bases}?",
        "没有名为 {name} 的基础模型；是否指 {bases}？",
    ),
    (
        "no base model known here is called {name}; `flux.1-dev` is one, `pony` too.",
        "没有名为 {name} 的基础模型；可以写 `flux.1-dev`、`pony` 等。",
    ),
    (
        "{name} has {size} bytes or more; files above {limit} are not fetched. Raise "
        "REGISTRY_MAX_FILE_BYTES if it is worth that.",
        "{name} 有 {size} 字节或更多，超过上限 {limit} 字节；如有需要，"
        "请调大 REGISTRY_MAX_FILE_BYTES。",
    ),
    (
        "{name} needs {size} bytes and the disk has {free}, of which {reserved} stay free "
        "(REGISTRY_RESERVED_BYTES). Free space, then run again.",
        "{name} 需要 {size} 字节，而磁盘剩余 {free} 字节，其中 {reserved} 字节须保留"
        "（REGISTRY_RESERVED_BYTES）。请清理磁盘后重试。",
    ),
    (
        "the blob store has no {sha256}. Run `autolora refresh --full`, with the `--source` that "
        "it came from, to fetch it again.",
        "文件库中没有 {sha256}。请用 `autolora refresh --full` 并指定其来源 `--source`，重新获取。",
    ),
    (
        "the file {sha256} was read and is not kept here (REGISTRY_KEEP_FILES). It is at {url}. "
        "To have it here set REGISTRY_KEEP_FILES=all, or =fusable with its base model in "
        "REGISTRY_BASE_MODELS, and run `autolora refresh`.",
        "文件 {sha256} 已读取但没有保留（REGISTRY_KEEP_FILES），可在 {url} 获取。"
        "要保留它，请设置 REGISTRY_KEEP_FILES=all（或 =fusable 并在 REGISTRY_BASE_MODELS "
        "中设置其基础模型），再运行 `autolora refresh`。",
    ),
    (
        "the file {sha256} was read and is not kept here (REGISTRY_KEEP_FILES). To have it here "
        "set REGISTRY_KEEP_FILES=all, or =fusable with its base model in REGISTRY_BASE_MODELS, "
        "and run `autolora refresh`.",
        "文件 {sha256} 已读取但没有保留（REGISTRY_KEEP_FILES）。"
        "要保留它，请设置 REGISTRY_KEEP_FILES=all（或 =fusable 并在 REGISTRY_BASE_MODELS "
        "中设置其基础模型），再运行 `autolora refresh`。",
    ),
    ("Pages of other sites may not ask here.", "不接受其他网站页面发来的请求。"),
    (
        "This server is not known by that name; REGISTRY_ALLOWED_HOSTS lists its names.",
        "此服务器不认识这个名称；允许的名称由 REGISTRY_ALLOWED_HOSTS 指定。",
    ),
    ("URI is too long", "地址过长。"),
    ("interrupted", "已中断"),
    # What an answer lacks.
    (
        "Weights were not compared: no encoder for {bases} and {n} more (`autolora doctor`).",
        "未比较权重：{bases} 等（另有 {n} 个）还没有权重编码器（`autolora doctor`）。",
    ),
    (
        "Weights were not compared: no encoder for {bases} (`autolora doctor`).",
        "未比较权重：{bases} 还没有权重编码器（`autolora doctor`）。",
    ),
    (
        "{path} cannot be registered: {why}. Give a checkpoint of a weight encoder; "
        "REGISTRY_ENCODER_CHECKPOINT names those that a refresh registers.",
        "无法登记 {path}：{why}。请提供权重编码器的检查点；"
        "REGISTRY_ENCODER_CHECKPOINT 指定刷新时登记的检查点。",
    ),
    (
        "the checkpoint of encoder {name} is not in the blob store. Register it again by "
        "`autolora encoders add FILE`, or go back to the one before by "
        "`autolora encoders rollback {base}`.",
        "编码器 {name} 的检查点不在文件库中。请用 `autolora encoders add FILE` 重新登记，"
        "或用 `autolora encoders rollback {base}` 退回上一个。",
    ),
    (
        "encoder {name} cannot be read: its checkpoint is damaged, or was written by another "
        "version ({why}). Register one that this version reads by `autolora encoders add FILE`, "
        "or go back to the one before by `autolora encoders rollback {base}`.",
        "无法读取编码器 {name}：它的检查点已损坏，或由其他版本写成（{why}）。请用 "
        "`autolora encoders add FILE` 登记本版本能读取的检查点，"
        "或用 `autolora encoders rollback {base}` 退回上一个。",
    ),
    (
        "the database's schema is at {here} and this server knows {known}; restart it with the "
        "version that migrated the database",
        "数据库结构的版本是 {here}，而本服务器认识的是 {known}；请改用迁移数据库的那个版本重新启动",
    ),
    (
        "The vision model did not describe the picture; see the log.",
        "视觉模型没有描述这张图片；详情见日志。",
    ),
    (
        "The image encoder cannot be used, so covers were not compared by it; see the log.",
        "图像编码器不可用，未用它比较封面；详情见日志。",
    ),
    (
        "Nothing here has “{typed}”: read as “{meant}”. In quotes a word is taken as it is.",
        "这里没有“{typed}”，理解为“{meant}”。加引号的词按原样搜索。",
    ),
    (
        "The filters leave no adapter, so that nothing was compared.",
        "没有适配器符合筛选条件，因此未作比较。",
    ),
    ("Read as “{wanted}”, and without “{unwanted}”.", "理解为“{wanted}”，不要“{unwanted}”。"),
    (
        "Adapter {id} has neither an embedding nor captions nor a fingerprint: "
        "it was not compared.",
        "适配器 {id} 没有嵌入、图片描述或指纹，未参与比较。",
    ),
    (
        "Only the {n} most relevant are sorted; by relevance all can be gone through.",
        "只对最相关的 {n} 个排序；按相关度可浏览全部。",
    ),
    # What recipes warn of.
    (
        "licence not stated or not known: {names}; ask the author before you publish the image",
        "许可证未注明或未知：{names}。发布图片前请先询问作者。",
    ),
    ("no derivatives are permitted of: {names}", "不允许演绎：{names}"),
    (
        "{names} forbid commercial use, {others} ask for their own terms: both may not be met at "
        "once",
        "{names} 禁止商用，{others} 要求沿用自己的条款：可能无法同时满足。",
    ),
    (
        "{names} each ask for their own terms: all may not be met at once",
        "{names} 各自要求沿用自己的条款：可能无法同时满足。",
    ),
    (
        "together the adapters change the image {n} times as much as the strongest of them alone: "
        "they may be made to do harm together, or their strengths are too high",
        "这些适配器合在一起对图片的改变是其中最强者单独使用时的 {n} 倍："
        "它们可能是为合在一起造成危害而制作的，或者强度过高。",
    ),
    (
        "the adapters undo one another: together they change the image {n} times as much as the "
        "strongest of them alone",
        "这些适配器相互抵消：合在一起对图片的改变只有其中最强者单独使用时的 {n} 倍。",
    ),
    (
        "how strong {name} is stands in {file}, which most other programs do not read",
        "{name} 的强度写在 {file} 中，而大多数其他程序不会读取它。",
    ),
)

# What is wrong with a value of a request, by pydantic's names of faults and for its own words.
FAULTS = {
    "missing": "缺少该值",
    "string_too_short": "至少要有 {min_length} 个字符",
    "string_too_long": "最多 {max_length} 个字符",
    "too_short": "至少要有 {min_length} 个",
    "too_long": "最多 {max_length} 个",
    "less_than_equal": "不能大于 {le}",
    "less_than": "必须小于 {lt}",
    "greater_than_equal": "不能小于 {ge}",
    "greater_than": "必须大于 {gt}",
    "literal_error": "应为 {expected} 之一",
    "enum": "应为 {expected} 之一",
    "int_type": "应为整数",
    "int_parsing": "应为整数",
    "int_from_float": "应为整数",
    "float_type": "应为数字",
    "float_parsing": "应为数字",
    "finite_number": "应为有限的数字",
    "bool_type": "应为 true 或 false",
    "bool_parsing": "应为 true 或 false",
    "string_type": "应为文字",
    "list_type": "应为列表",
    "dict_type": "应为 JSON 对象",
    "model_type": "应为 JSON 对象",
    "model_attributes_type": "应为 JSON 对象",
    "nested_too_deeply": "嵌套过深",
}
