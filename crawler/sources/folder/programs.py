"""JSON that people and their programs keep beside an adapter's file; docs/folders.md lists it."""

from crawler.hub_json import read_json
from crawler.hub_text import clean_words, plain_text, split_phrases
from crawler.sources.folder.fields import Facts, Fields, Sheet

# Stable Diffusion web UI's names for a kind of base, in words that hubs use.
WEBUI_BASES = {"SD1": "SD 1.5", "SD2": "SD 2.1", "SDXL": "SDXL 1.0", "SD3": "SD 3"}


def read_own(sheet: Sheet) -> Facts:
    """Read `<stem>.json`: our fields, or those of Stable Diffusion web UI's own editor [1].

    - [1] https://github.com/AUTOMATIC1111/stable-diffusion-webui, "Edit metadata" of a LoRA
    """
    fields = sheet.fields()
    notes = [fields.text("description"), fields.text("notes")]
    bases = [fields.text("base_model"), WEBUI_BASES.get(fields.text("sd version"), "")]
    preferred = fields.strength("strength")
    return Facts(
        name=fields.text("name"),
        author=fields.text("author"),
        description="\n".join(filter(None, notes)),
        trigger_words=split_phrases(fields.words("trigger_words"))
        or split_phrases(fields.text("activation text")),
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
    return _civitai_version(sheet.fields())


def read_lora_manager(sheet: Sheet) -> Facts:
    """Read `<stem>.metadata.json` of ComfyUI-Lora-Manager [1], with Civitai's answer inside.

    - [1] https://github.com/willmiao/ComfyUI-Lora-Manager, py/utils/models.py
    """
    fields = sheet.fields()
    version = _civitai_version(fields.below("civitai"))
    tips = read_json(fields.text("usage_tips"))
    advice = Fields(tips if isinstance(tips, dict) else {}, sheet.complaints)
    notes = [plain_text(fields.text("modelDescription")), fields.text("notes")]
    bases = (fields.text("base_model"), *version.base_models)
    return Facts(
        name=fields.text("model_name") or version.name,
        author=version.author,
        description="\n".join(filter(None, notes)) or version.description,
        trigger_words=version.trigger_words,
        tags=clean_words(fields.words("tags")) or version.tags,
        base_models=tuple(filter(None, bases)),
        mature=version.mature,
        strength=advice.strength("strength"),
        prompt=version.prompt,
    )


def _civitai_version(fields: Fields) -> Facts:
    model = fields.below("model")
    notes = [model.text("description"), fields.text("description")]
    # Programs that fetch this fetch the first image as well, as the preview.
    prompts = [image.below("meta").text("prompt") for image in fields.items("images")]
    return Facts(
        name=model.text("name"),
        author=fields.below("creator").text("username") or model.below("creator").text("username"),
        description="\n".join(filter(None, map(plain_text, notes))),
        trigger_words=split_phrases(fields.words("trainedWords")),
        tags=clean_words(model.words("tags")),
        base_models=clean_words(fields.text("baseModel")),
        mature=model.flag("nsfw"),
        prompt=prompts[0] if prompts else "",
    )
