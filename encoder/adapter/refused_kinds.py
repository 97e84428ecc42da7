"""What is no adapter of an image model, told by its tensors' names and refused by name.

Names are those that PEFT gives layers of networks in transformers, and those that other
programs' own code writes (docs/formats.md). A refusal says one cause.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from encoder.adapter.key_parts import is_change, is_outside
from encoder.adapter.safetensors_header import TensorInfo
from encoder.errors import UnsupportedLoraError

# Kinds of adapters that are no sum of a change and the base's weights, or no LoRA at all.
OTHER_KINDS = (
    (re.compile(r"\.oft_(blocks|diag|R)|\.oft_R\."), "OFT or BOFT, which rotates weights"),
    (re.compile(r"\.(lora_)?[ab][12]\.weight$"), "GLoRA"),
    (re.compile(r"\.ia3_l|\.on_input$"), "IA3, which scales activations"),
    (re.compile(r"\.(lambda_layer|[pq]_layer\.weight)$"), "T-LoRA"),
    (
        re.compile(
            r"\.(p?vera_lambda|lora_(E|diag|ranknum|embedding_[AB])|(adamss|beft|boft|bone|c3a|deft"
            r"|delora|fourierft|frod|glora|gralora|hira|hra|lily|ln_tuning|miss|osf|peanut|poly|psoft"
            r"|randlora|road|shadow|shira|supertuning|tinylora|trainable_tokens|unilora|vblora"
            r"|waveft|xlora)_)"
        ),
        "a kind of PEFT's that is no LoRA",
    ),
    (re.compile(r"ip_adapter|^image_proj\.|to_[kv]_ip"), "an IP-Adapter, not a LoRA"),
    (
        re.compile(r"\.lora_time_(gamma|beta)\."),
        "DiffSynth's timestep-aware LoRA, whose change is another at every step",
    ),
    (re.compile(r"^lora_controlnet"), "a ControlNet-LoRA"),
    (re.compile(r"^lllite"), "a ControlNet-LLLite"),
    (
        re.compile(
            r"^control(net|_model)|^(base_model\.model\.)?(input_hint_block|zero_convs)\."
            r"|(^|\.)controlnet_"
        ),
        "a ControlNet's part",
    ),
    (re.compile(r"(^|\.)motion_modules\."), "an AnimateDiff motion LoRA"),
    (
        re.compile(r"(^|\.)blocks\.\d+\.attn\.qkv_proj\.lora_B\.\w+\.weight$"),
        "MiniMax-H3's layers as DiffSynth has them, queries, keys and values in turns of heads",
    ),
    (
        re.compile(r"\.bias_(indices|values|size)$"),
        "a LyCORIS extracted with the rest of the difference beside it",
    ),
    (re.compile(r"\.lora_A(\.[\w-]+)?\.bias$"), "a LoRA with a bias between its factors"),
)
# Whole models have these as well, FLUX.1's for one.
OTHER_CHANGES = (
    (re.compile(r"(query|key)_norm\.scale$"), "a control LoRA with norms of its own"),
    (re.compile(r"\.(scale_weight|weight_scale|scale_input)$|^scaled_fp8$"), "scaled float8"),
)

# A number between dots or underscores.
INDEX = re.compile(r"(?<=[._])\d+(?=[._])")

# Programs for image models alone write these first.
IMAGE_PREFIXES = ("diffusion_model.", "model.diffusion_model.", "unet.", "pipe.dit.", "lora_",
                  "lycoris_")  # fmt: skip
# Networks that adapters are made for besides, by how their modules are called.
BLOCK = r"(?:^|\.)h\.\d+\."
NETWORKS = tuple(
    (re.compile(pattern), kind, whose)
    for pattern, kind, whose in (
        (BLOCK + r"attn\.attention\.", "language", "GPT-Neo's"),
        (BLOCK + r"(attn\.c_(attn|proj)|mlp\.c_(fc|proj)|crossattention\.)", "language", "GPT-2's"),
        (BLOCK + r"mlp\.w[12]\b", "language", "Qwen's"),
        (BLOCK + r"(attn\.\w+_proj|mlp\.fc_(in|out))\b", "language", "GPT-J's"),
        (r"(?:^|\.)gpt_neox\.", "language", "GPT-NeoX's"),
        (BLOCK + r"(self_attention\.|mlp\.dense_)", "language", "Falcon's and BLOOM's"),
        (
            r"(?:^|\.)encoder\.layers\.\d+\.(self_attention\.|mlp\.dense_)"
            r"|layers\.\d+\.attention\.query_key_value\b",
            "language", "ChatGLM's",
        ),
        (r"blocks\.\d+\.(attn\.Wqkv|ffn\.(up|down)_proj)\b", "language", "MPT's"),
        (r"(?:^|\.)language_model\.(model\.)?layers\.\d+\.", "vision-language", "Qwen-VL's"),
        (r"(?:^|\.)model\.visual\.blocks\.\d+\.", "vision-language", "Qwen-VL's"),
        (r"(?:^|\.)model\.layers\.\d+\.(self_attn|mlp)\.", "language", "Llama's"),
        (r"^(base_model\.model\.)*layers\.\d+\.cross_attn\.\w_proj\b", "music", "ACE-Step's"),
        (r"^(base_model\.model\.)*layers\.\d+\.self_attn\.\w_proj\b", "language", "Llama's"),
        (
            r"(?:^|\.)model\.(encoder|decoder)\.layers\.\d+\.|(?:^|\.)encoder_attn\.",
            "language or speech", "Whisper's, BART's and OPT's",
        ),
        (r"(?:^|\.)(wav2vec2|hubert|wavlm)\.", "speech", "wav2vec 2.0's"),
        (r"(?:^|\.)(encoder|decoder)\.block\.\d+\.layer\.\d+\.", "language", "T5's"),
        (r"(?:^|\.)(bert|roberta|deberta|distilbert|electra)\.", "language", "BERT's"),
        (r"(?:^|\.)encoder\.layer\.\d+\.attention\.self\.", "language", "BERT's"),
        (r"(?:^|\.)(vit|dinov2|deit|swin)\.|(?:^|\.)encoder\.layer\.\d+\.", "vision", "ViT's"),
        (r"(?:^|\.)vision_model\.", "vision", "CLIP's"),
        (
            r"^w_[ab]_\d{3}$|(?:^|\.)(image_encoder|vision_encoder|mask_decoder)\.",
            "vision", "Segment Anything's",
        ),
    )
)  # fmt: skip
TEXT_HALF = re.compile(r"(?:^|\.)text_model\.encoder\.layers\.(\d+)\.")
# A language model with image layers (HiDream-O1) has these besides.
IMAGE_MARKS = re.compile(r"(?:^|\.)(x_embedder|t_embedder1|final_layer2)\.")
# A token's vectors, under the name of the text encoder that they are for.
EMBEDDED = re.compile(r"emb_params|string_to_param.*|(clip_[glh]|t5(xxl)?|llama\w*|qwen\w*)(_out)?")
# The widths of text encoders: a file of one tensor that wide is named by its token.
TEXT_WIDTHS = (768, 1024, 1280, 2048, 2560, 3584, 4096)
HYPERNETWORK = re.compile(r"\d+\.[01]\.linear\.\d+\.(weight|bias)")


def refuse_kinds(
    file: str | Path, tensors: Mapping[str, TensorInfo], claimed: Iterable[str | None]
) -> None:
    """Refuse what is no adapter of an image model, or of a kind that is not read.

    `claimed` are the base models that somebody says it is for: HiDream-O1 is a language model
    by its layers' names, and only a claim tells an adapter of it from one of the language model.

    Raises:
        UnsupportedLoraError: it is such a file.
    """
    # Blocks differ in their numbers only, and no kind is told by those.
    first: dict[str, str] = {}
    for key in sorted(tensors):
        first.setdefault(INDEX.sub("0", key), key)
    keys = list(first.values())
    if what := _whole_file(tensors):
        raise UnsupportedLoraError(file, f"is {what}, not a LoRA")
    kinds = (*OTHER_KINDS, *(OTHER_CHANGES if any(map(is_change, keys)) else ()))
    for key in keys:
        for pattern, kind in kinds:
            if pattern.search(key):
                raise UnsupportedLoraError(
                    file, f"is or has {kind} ({key[:100]}); that is not read"
                )
    inside = [key for key in keys if not is_outside(key)]
    if what := _other_network(inside, [name for name in claimed if name]):
        raise UnsupportedLoraError(file, f"is {what}; it changes no layer of an image model")


def _whole_file(tensors: Mapping[str, TensorInfo]) -> str:
    """Name a file that has no layers at all."""
    names = list(tensors)
    if not names:
        return ""
    if all(EMBEDDED.fullmatch(name) or name.startswith("<") for name in names):
        return "a textual inversion"
    if len(names) == 1 and "." not in names[0]:
        shape = tensors[names[0]].shape
        if 1 <= len(shape) <= 2 and shape[-1] in TEXT_WIDTHS:
            return f"a textual inversion (of the token {names[0][:60]!r})"
    if all(HYPERNETWORK.fullmatch(name) for name in names):
        return "a hypernetwork"
    return ""


def _other_network(keys: list[str], claimed: list[str]) -> str:
    """Name the network whose layers most of the modules are; "" if it may be an image model."""
    told = [key for key in keys if not key.startswith(IMAGE_PREFIXES)]
    if 2 * len(told) <= len(keys):
        return ""
    if 2 * sum(bool(TEXT_HALF.search(key)) for key in told) > len(told):
        return "the text encoder's half of a LoRA (CLIP's names)"
    if any(map(IMAGE_MARKS.search, told)) or any("hidream-o1" in name for name in claimed):
        return ""
    for pattern, kind, whose in NETWORKS:
        if 2 * sum(bool(pattern.search(key)) for key in told) > len(told):
            article = "an" if kind[0] in "aeiou" else "a"
            return f"a LoRA of {article} {kind} model ({whose} names)"
    return ""
