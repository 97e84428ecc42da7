"""Qwen-VLs of 100,000 random numbers, with all the files that a real one's folder has."""

import json
from pathlib import Path
from typing import Any, Literal

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
# As Qwen's templates go, without tools, videos and roles that are not used here.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)


Kind = Literal["qwen3_vl", "qwen2_5_vl"]


def write_tiny_vlm(folder: Path, kind: Kind = "qwen3_vl") -> Path:
    """Write the folder: weights, tokenizer, image processor, chat template."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    tokenizer = _make_tokenizer()
    tokenizer.save_pretrained(folder)
    preprocessor = {
        # As real folders have it; without torchvision its namesake for Pillow is taken.
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "patch_size": 4,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 64, "longest_edge": 1024},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(  # type: ignore[no-untyped-call]
        AutoConfig.for_model(
            kind,
            text_config=_text_config(kind, len(tokenizer)),
            vision_config=_vision_config(kind),
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
        )
    )
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    model.save_pretrained(folder)
    return folder


def _make_tokenizer() -> Any:
    """Return a tokenizer that knows single bytes, and Qwen's marks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: n for n, sign in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        additional_special_tokens=list(SPECIAL),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def _text_config(kind: Kind, vocabulary: int) -> dict[str, Any]:
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2]}
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 8192,
        "rope_scaling": rope | ({"mrope_interleaved": True} if kind == "qwen3_vl" else {}),
    }


def _vision_config(kind: Kind) -> dict[str, Any]:
    own = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    if kind == "qwen2_5_vl":
        own = {"window_size": 16, "fullatt_block_indexes": [1]}
    return {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 4,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 32,
        **own,
    }
