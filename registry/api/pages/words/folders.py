"""One's own folders, and copies in them, in English and Chinese."""

TEXTS: dict[str, tuple[str, str]] = {
    "folders": ("My own files", "我自己的文件"),
    "folders.more": (
        "Folders of this machine are read and watched, never written to but for what you move to "
        "the trash. What changes in them is indexed by itself.",
        "系统只读取并监视本机文件夹，不会写入（移到回收站除外）。文件夹有变化时会自动更新索引。",
    ),
    "folders.path": ("A folder on this machine, the whole path", "本机文件夹的完整路径"),
    "folders.add": ("Add folder", "添加文件夹"),
    "folders.drop": (
        "Drop safetensors files here, or choose them",
        "把 safetensors 文件拖到这里，或点击选择",
    ),
    "folders.drop.folder": (
        "{name} is a folder: type its whole path above, or drop the files that are in it.",
        "{name} 是文件夹：请在上方填写其完整路径，或拖入其中的文件。",
    ),
    "folders.drop.noscript": (
        "Sending files needs JavaScript; a folder can be added without it.",
        "上传文件需要 JavaScript；添加文件夹则不需要。",
    ),
    "folders.sending": ("Sending {name}: {percent} %", "正在上传 {name}：{percent} %"),
    "folders.sent": ("{name} was sent and is being read.", "{name} 已上传，正在读取。"),
    "folders.none": ("No folder was added yet.", "还没有添加文件夹。"),
    "folders.busy": ("Under way: {step}", "正在进行：{step}"),
    "folders.last": (
        "{n} adapters can be found; last looked at {when}",
        "可搜索到 {n} 个适配器；上次检查于 {when}",
    ),
    "folders.last.one": (
        "1 adapter can be found; last looked at {when}",
        "可搜索到 1 个适配器；上次检查于 {when}",
    ),
    "folders.show": ("Show my files", "浏览我的文件"),
    "folders.waits": ("Not looked at yet", "尚未检查"),
    "folders.waits_for": ("Waits for {folder}", "等待 {folder} 完成"),
    "folders.waits_for.more": (
        "Waits for {folder} and {n} more",
        "等待 {folder} 及另外 {n} 个文件夹完成",
    ),
    "folders.refresh": ("Look again", "重新检查"),
    "folders.draw": ("Draw missing covers", "生成缺失的封面"),
    "folders.remove": ("Watch no more", "不再监视"),
    "folders.of": ("{what}: {path}", "{what}：{path}"),
    "folders.unwatched": (
        "Read by “autolora refresh”, and not watched",
        "由“autolora refresh”读取，未监视",
    ),
    "folders.watch": ("Watch", "监视"),
    "folders.watch.of": ("Watch {path}", "监视 {path}"),
    "folders.problems": ("What was not taken, and why ({n})", "未收录的内容及原因（{n}）"),
    "folders.problems.first": (
        "What was not taken, and why (the first {shown} of {n})",
        "未收录的内容及原因（共 {n} 项，显示前 {shown} 项）",
    ),
    "folders.copies": ("Find copies", "查找重复文件"),
    "copies": ("Copies among my files", "我的文件中的重复项"),
    "copies.more": (
        "The same adapter by its weights. Tick what shall go to this machine's trash; what lies "
        "beside a file stays.",
        "按权重判断为同一适配器。勾选要移到本机回收站的文件；旁边的其他文件不会动。",
    ),
    "copies.left": (
        "More copies, which are shown when those below have gone: {n}",
        "下列文件清理后将显示其余重复项：{n} 个",
    ),
    "copies.none": ("No two of your files are the same adapter.", "你的文件中没有重复的适配器。"),
    "copies.first": ("the first of them", "最早的一个"),
    "copies.file": ("the same file", "完全相同的文件"),
    "copies.tensors": ("the same weights under another header", "权重相同，文件头不同"),
    "copies.change": ("the same change, written otherwise", "效果相同，写法不同"),
    "copies.strength": ("the same change × {n}", "效果相同，强度为 {n} 倍"),
    "copies.near": ("nearly the same change ({n})", "几乎相同（{n}）"),
    "copies.tick": ("Tick all exact copies but the first", "勾选除第一个外的所有完全重复项"),
    "copies.untick": ("Tick none", "全部取消勾选"),
    "copies.unticked": ("Tick what shall go to the trash.", "请先勾选要移到回收站的文件。"),
    "copies.alone": (
        "Something that you ticked has no copy by now. Nothing was moved.",
        "勾选的文件中有的已没有其他副本，没有移动任何文件。",
    ),
    "copies.all": (
        "Leave one of them: all copies of {name} are ticked.",
        "请至少保留一个：{name} 的所有副本都已勾选。",
    ),
    "copies.moved": ("Moved to the trash: {n}", "已移到回收站：{n} 个文件"),
    "copies.trash": ("Move to the trash", "移到回收站"),
    "copies.trash.of": ("Move {name} to the trash", "把 {name} 移到回收站"),
}
