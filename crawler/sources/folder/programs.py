"""JSON that people and their programs keep beside an adapter's file; docs/folders.md lists it."""

from collections.abc import Callable
from dataclasses import replace

from crawler.hub_json import read_json
from crawler.hub_text import clean_words, plain_text, split_phrases
from crawler.sources.folder.fields import Facts, Fields, Sheet
from crawler.sources.hub_fields import civitai_maturity

# Web UIs' names for a kind of base, in words that hubs use: Stable Diffusion web UI's, Forge's,
# and those of Forge Neo's presets [1]. "Flux" is left out: which FLUX.1 it is they do not say, and
# that it is one layers do.
# - [1] https://github.com/Haoming02/sd-webui-forge-classic, modules_forge/presets.py
WEBUI_BASES = {
    "sd1": "SD 1.5", "sd2": "SD 2.1", "sdxl": "SDXL 1.0", "sd3": "SD 3",
    "sd": "SD 1.5", "xl": "SDXL 1.0", "klein": "FLUX.2 klein", "qwen": "Qwen-Image",
    "lumina": "Lumina", "zit": "Z-Image", "wan": "Wan Video", "anima": "Anima", "ernie": "Ernie",
    "krea": "Krea 2",
}  # fmt: skip


def read_own(sheet: Sheet) -> Facts:
    """Read `<stem>.json`: our fields, or those of Stable Diffusion web UI's own editor [1].

    Other programs keep a hub's answer under that name, SD.Next a model's: it is known by a field
    that nothing else has.

    - [1] https://github.com/AUTOMATIC1111/stable-diffusion-webui, "Edit metadata" of a LoRA
    """
    fields = sheet.fields()
    for field, read in ANSWERS.items():
        if field in fields:
            return read(sheet)
    # Civitai Helper writes the hub's HTML there, and prompts that call for it with || between.
    notes = [plain_text(fields.text("description")), plain_text(fields.text("notes"))]
    bases = [fields.text("base_model"), WEBUI_BASES.get(fields.text("sd version").lower(), "")]
    preferred = fields.strength("strength")
    return Facts(
        name=fields.text("name"),
        author=fields.text("author"),
        description="\n".join(filter(None, notes)),
        trigger_words=split_phrases(fields.words("trigger_words"))
        or split_phrases(fields.text("activation text").replace("||", ",")),
        tags=clean_words(fields.words("tags")),
        base_models=tuple(filter(None, bases)),
        licence=fields.text("licence"),
        mature=fields.flag("mature"),
        strength=preferred if preferred is not None else fields.strength("preferred weight"),
        negative_prompt=fields.text("negative_prompt") or fields.text("negative text"),
        prompt=fields.text("prompt"),
    )


def read_civitai(sheet: Sheet) -> Facts:
    """Read `<stem>.civitai.info`: Civitai's answer about a model's version [1].

    - [1] https://github.com/civitai/civitai/wiki/REST-API-Reference
    """
    return _civitai_version(sheet.fields(), sheet.stem)


def read_lora_manager(sheet: Sheet) -> Facts:
    """Read `<stem>.metadata.json` of ComfyUI-Lora-Manager [1], with Civitai's answer inside.

    - [1] https://github.com/willmiao/ComfyUI-Lora-Manager, py/utils/models.py
    """
    fields = sheet.fields()
    answer = fields.below("civitai")
    version = _civitai_version(answer, sheet.stem)
    tips = read_json(fields.text("usage_tips"))
    advice = Fields(tips if isinstance(tips, dict) else {}, sheet.complaints)
    notes = [plain_text(fields.text("modelDescription")), fields.text("notes")]
    bases = (fields.text("base_model"), *version.base_models)
    return Facts(
        name=_name_version(fields.text("model_name"), answer, sheet.stem) or version.name,
        author=version.author,
        description="\n".join(filter(None, notes)) or version.description,
        trigger_words=split_phrases(fields.words("trainedWords")) or version.trigger_words,
        tags=clean_words(fields.words("tags")) or version.tags,
        base_models=tuple(filter(None, bases)),
        mature=version.mature,
        strength=advice.strength("strength"),
        prompt=version.prompt,
    )


def read_civitai_model(sheet: Sheet) -> Facts:
    """Read `<stem>.api_info.json` of CivitAI Browser+ [1] and its kin: an answer about a model.

    Of its versions that counts which has a file of this name, or the only one: what another one
    is called by, and made for, says nothing of this file.

    - [1] https://github.com/BlafKing/sd-civitai-browser-plus
    """
    fields = sheet.fields()
    versions = list(fields.items("modelVersions"))
    own = [version for version in versions if _has_file(version, sheet.stem)]
    if not own and len(versions) == 1:
        own = versions
    version = _civitai_version(own[0], sheet.stem) if own else Facts()
    name = fields.text("name")
    notes = [plain_text(fields.text("description")), version.description]
    return replace(
        version,
        name=_name_version(name, own[0], sheet.stem) if own and len(versions) > 1 else name,
        author=fields.below("creator").text("username"),
        description="\n".join(filter(None, notes)),
        tags=clean_words(fields.words("tags")),
        mature=civitai_maturity(
            fields.flag("nsfw"),
            own[0].number("nsfwLevel") if own else None,
            fields.number("nsfwLevel"),
        ),
    )


def _has_file(version: Fields, stem: str) -> bool:
    names = (file.text("name").rpartition(".")[0] for file in version.items("files"))
    return stem.lower() in map(str.lower, names)


def read_stability_matrix(sheet: Sheet) -> Facts:
    """Read `<stem>.cm-info.json` of Stability Matrix [1].

    - [1] https://github.com/LykosAI/StabilityMatrix, Models/ConnectedModelInfo.cs
    """
    fields = sheet.fields()
    model = fields.text("ModelName")
    notes = [fields.text("ModelDescription"), fields.text("VersionDescription")]
    return Facts(
        name=fields.text("UserTitle") or _with_version(model, fields.text("VersionName")),
        author=fields.text("AuthorUsername"),
        description="\n".join(filter(None, map(plain_text, notes))),
        trigger_words=split_phrases(fields.words("TrainedWords")),
        tags=clean_words(fields.words("Tags")),
        base_models=clean_words(fields.text("BaseModel")),
        mature=fields.flag("Nsfw"),
    )


def read_swarm(sheet: Sheet) -> Facts:
    """Read `<stem>.swarm.json` of SwarmUI [1]: ModelSpec's fields, as a header has them.

    - [1] https://github.com/mcmonkeyprojects/SwarmUI, T2IModelHandler.cs
    """
    fields = sheet.fields()
    notes = [fields.text("modelspec.description"), fields.text("modelspec.usage_hint")]
    tags = fields.words("modelspec.tags")
    return Facts(
        name=fields.text("modelspec.title"),
        author=fields.text("modelspec.author"),
        description="\n".join(filter(None, map(plain_text, notes))),
        trigger_words=split_phrases(fields.text("modelspec.trigger_phrase")),
        tags=clean_words(tags.split(",") if isinstance(tags, str) else tags),
        base_models=clean_words(fields.text("modelspec.architecture")),
        licence=fields.text("modelspec.license"),
    )


def read_rgthree(sheet: Sheet) -> Facts:
    """Read `<stem>.safetensors.rgthree-info.json` of rgthree-comfy [1], with Civitai's answer.

    Words that it only counted in the captions of the training are none to call by.

    - [1] https://github.com/rgthree/rgthree-comfy, py/server/utils_info.py
    """
    fields = sheet.fields()
    version = _civitai_version(fields.below("raw").below("civitai"), sheet.stem)
    words = [
        word.text("word")
        for word in fields.items("trainedWords")
        if word.flag("civitai") or word.flag("user")
    ]
    prompts = [image.text("positive") for image in fields.items("images")]
    bases = (fields.text("baseModel"), *version.base_models)
    return replace(
        version,
        name=fields.text("name") or version.name,
        trigger_words=split_phrases(words) or version.trigger_words,
        base_models=tuple(filter(None, bases)),
        prompt=next(filter(None, prompts), version.prompt),
    )


def _name_version(model: str, version: Fields, stem: str) -> str:
    """Name a version of a model, and of several files one, as Civitai's crawl does."""
    name = _with_version(model, version.text("name"))
    files = [file for file in version.items("files") if _is_weights(file)]
    return f"{name}: {stem}" if name and len(files) > 1 else name


def _with_version(model: str, version: str) -> str:
    # How many versions there are is mostly not said: without its own, all would have one name.
    return f"{model} ({version})" if model and version else model


def _is_weights(file: Fields) -> bool:
    return file.text("name").lower().endswith(".safetensors")


def _civitai_version(fields: Fields, stem: str) -> Facts:
    if fields.flag("skeleton_file"):
        # Civitai Helper made it up of the file's header: Civitai does not know the file.
        return Facts()
    model = fields.below("model")
    notes = [model.text("description"), fields.text("description")]
    # Programs that fetch this fetch the first image as well, as the preview.
    prompts = [image.below("meta").text("prompt") for image in fields.items("images")]
    return Facts(
        name=_name_version(model.text("name"), fields, stem),
        author=fields.below("creator").text("username") or model.below("creator").text("username"),
        description="\n".join(filter(None, map(plain_text, notes))),
        trigger_words=split_phrases(fields.words("trainedWords")),
        tags=clean_words(model.words("tags")),
        base_models=clean_words(fields.text("baseModel")),
        mature=civitai_maturity(
            model.flag("nsfw"), fields.number("nsfwLevel"), model.number("nsfwLevel")
        ),
        prompt=prompts[0] if prompts else "",
    )


# By a field that tells whose answer a `.json` is.
ANSWERS: dict[str, Callable[[Sheet], Facts]] = {
    "modelVersions": read_civitai_model,
    "trainedWords": read_civitai,
    "modelspec.title": read_swarm,
}
