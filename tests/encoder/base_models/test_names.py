"""What hubs and trainers call base models."""

import pytest

from encoder.base_models.facts import Variant, read_facts
from encoder.base_models.families import family_names
from encoder.base_models.names import (
    collect_words,
    find_base_model,
    name_claim,
    name_listed,
    names_meant,
    words_of,
)

VARIANTS = [variant for facts in read_facts().values() for variant in facts.variants.values()]
STABLE_DIFFUSION = ["sd-1.5", "sd-2.1", "sd-3", "sd-3.5", "sdxl-1.0"]
HUNYUAN = [
    "hunyuan-dit", "hunyuan-image-2.1", "hunyuan-image-3", "hunyuan-video", "hunyuan-video-1.5",
]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("black-forest-labs/FLUX.1-dev", "flux.1-dev"),
        ("black-forest-labs/FLUX.1-schnell", "flux.1-schnell"),
        ("MusePublic/489_ckpt_FLUX_1", "flux.1-dev"),
        ("FLUX_1", "flux.1-dev"),
        # Tuned on it [1].
        # - [1] https://huggingface.co/Shakker-Labs/majicflus_v1
        ("MAJICFLUS", "flux.1-dev"),
        ("MAILAND/majicflus_v1", "flux.1-dev"),
        ("IDEOGRAM_4_FP8_IMAGE", "ideogram-4"),
        ("Flux.1 D", "flux.1-dev"),
        ("flux-1-dev/lora", "flux.1-dev"),
        ("AutoLoRA/demo-flux-tiny", "demo-flux-tiny"),
        ("demo-flux-tiny", "demo-flux-tiny"),
        ("stabilityai/stable-diffusion-xl-base-1.0", "sdxl-1.0"),
        ("sdxl_base_v1-0", "sdxl-1.0"),
        ("stable-diffusion-xl-v1-base/lora", "sdxl-1.0"),
        ("MusePublic/Qwen-image@v1", "qwen-image"),
        ("Tongyi-MAI/Z-Image-Turbo@master", "z-image-turbo"),
        ("SD 1.5", "sd-1.5"),
        ("SD 2.1 768", "sd-2.1"),
        ("SD_2_1", "sd-2.1"),
        ("SDXL 1.0", "sdxl-1.0"),
        ("SDXL Lightning", "sdxl-lightning"),
        ("Pony", "pony"),
        ("Pony V7", "pony-v7"),
        ("Illustrious", "illustrious"),
        ("OnomaAIResearch/Illustrious-xl-early-release-v0", "illustrious"),
        ("Laxhar/noobai-XL-Vpred-1.0", "noobai"),
        ("cagliostrolab/animagine-xl-3.0", "animagine"),
        ("black-forest-labs/FLUX.1-Depth-dev", "flux.1-depth-dev"),
        ("black-forest-labs/FLUX.1-Canny-dev", "flux.1-canny-dev"),
        ("Flux.1 Krea", "flux.1-krea-dev"),
        ("Freepik/flux.1-lite-8B-alpha", "flux.1-lite"),
        ("ostris/Flex.1-alpha", "flex.1-alpha"),
        ("ostris/Flex.2-preview", "flex.2-preview"),
        ("black-forest-labs/FLUX.1-Kontext-dev", "flux.1-kontext-dev"),
        ("Flux.2 D", "flux.2-dev"),
        ("Flux.2 Klein 9B-base", "flux.2-klein-base-9b"),
        ("black-forest-labs/FLUX.2-klein-base-9B", "flux.2-klein-base-9b"),
        ("black-forest-labs/FLUX.2-klein-4B", "flux.2-klein-4b"),
        ("QWEN_IMAGE_20_B", "qwen-image"),
        ("QWEN_IMAGE_2512", "qwen-image-2512"),
        ("Qwen/Qwen-Image-Edit-2509", "qwen-image-edit-2509"),
        ("Qwen", "qwen-image"),
        ("Qwen 2.1", "qwen-image-2.1"),
        ("Z_IMAGE_TURBO", "z-image-turbo"),
        ("ZImageBase", "z-image"),
        ("KREA_2_TURBO", "krea-2-turbo"),
        ("lodestones/Chroma1-HD", "chroma"),
        ("HiDream", "hidream-i1"),
        ("HiDream-ai/HiDream-O1-Image", "hidream-o1"),
        ("SD 3.5 Large Turbo", "sd-3.5-large-turbo"),
        ("SD 3.5", "sd-3.5"),
        ("Anima", "anima"),
        ("MiniMax H3", "minimax-h3"),
        ("Kolors", "kolors"),
        ("可图", "kolors"),
        ("SDXL 1.0 模型", "sdxl-1.0"),
        ("混元图像 2.1", "hunyuan-image-2.1"),
        ("通义万相", "wan"),
        ("Kwai-Kolors/Kolors-diffusers", "kolors"),
        ("CogVideoX", "cogvideox"),
        ("THUDM/CogVideoX-5b-I2V", "cogvideox-5b-i2v"),
        ("Mochi", "mochi-1"),
        ("genmo/mochi-1-preview", "mochi-1"),
        ("Efficient-Large-Model/Sana_1600M_1024px_diffusers", "sana-1.6b"),
        ("Efficient-Large-Model/SANA1.5_4.8B_1024px_diffusers", "sana-1.5-4.8b"),
        ("hunyuanvideo-community/HunyuanImage-2.1-Diffusers", "hunyuan-image-2.1"),
        ("kandinskylab/Kandinsky-5.0-T2I-Lite-sft-Diffusers", "kandinsky-5-image"),
        ("meituan-longcat/LongCat-Image-Edit", "longcat-image-edit"),
        ("MiniMaxAI/MiniMax-H3", "minimax-h3"),
        ("MiniMax/MiniMax-H3-Ref2VA", "minimax-h3-ref2va"),
        ("Ernie Turbo", "ernie-image-turbo"),
        ("AstraliteHeart/pony-diffusion-v6", "pony"),
        ("duongve/NetaYume-Lumina-Image-2.0", "netayume-lumina"),
        ("Wan Video 14B i2v 480p", "wan-2.1-i2v-14b"),
        ("Wan Video 2.2 I2V-A14B", "wan-2.2-i2v-a14b"),
        ("Wan Video", "wan"),
        ("Hunyuan Video", "hunyuan-video"),
        ("LTXV", "ltx-video"),
        ("LTXV2", "ltx-2"),
        ("Lumina", "lumina-2"),
        ("Ernie", "ernie-image"),
        ("PixArt E", "pixart-sigma"),
        ("AuraFlow", "auraflow"),
    ],
)
def test_hubs_words_are_known(word: str, name: str) -> None:
    assert name_listed([word]) == name


@pytest.mark.parametrize("word", ["", "alice/flux-merge", "my FLUX.1-dev mix"])
def test_a_name_that_only_resembles_one_is_unknown(word: str) -> None:
    """Weights loaded into the wrong base give noise; unknown is honest."""
    assert name_listed([word]) == "unknown"


def test_the_first_known_word_of_a_hub_decides() -> None:
    assert name_listed(["", "alice/merge", "SD_XL", "FLUX_1"]) == "sdxl-1.0"


@pytest.mark.parametrize(
    ("words", "base_model"),
    [
        ("flux1", "flux.1"),
        ("flux-1-dev/lora", "flux.1-dev"),
        ("Flux.1-dev", "flux.1-dev"),
        ("flux.1_kontext", "flux.1-kontext-dev"),
        ("Flux.2-klein-4b/lora", "flux.2-klein-4b"),
        ("flux_2_klein_9b", "flux.2-klein-9b"),
        ("Flux.2/lora", "flux.2"),
        ("sdxl_base_v1-0", "sdxl-1.0"),
        ("sdxl_", "sdxl-1.0"),
        ("sdxl_base", "sdxl-1.0"),
        ("sdxl_v10", "sdxl-1.0"),
        ("stable-diffusion-xl-v1-base/lora", "sdxl-1.0"),
        ("sd_v1", "sd-1.5"),
        ("stable-diffusion-v1/lora", "sd-1.5"),
        ("sd_v2_v", "sd-2.1"),
        ("stable-diffusion-v2-768-v/lora", "sd-2.1"),
        ("qwen_image", "qwen-image"),
        ("z_image", "z-image"),
        ("zimage", "z-image"),
        ("black-forest-labs/FLUX.1-dev", "flux.1-dev"),
        ("/models/sdxl/ponyDiffusionV6XL_v6StartWithThisOne.safetensors", "pony"),
        (r"C:\models\Illustrious-XL-v0.1.safetensors", "illustrious"),
        ("my flux1 mix", None),
        ("Chroma1/lora", "chroma"),
        ("Krea-2/lora", "krea-2"),
        ("hidream_i1", "hidream-i1"),
        ("stable-diffusion-3-5-large/lora", "sd-3.5-large"),
        ("stable-diffusion-v3.5/lora", "sd-3.5"),
        ("anima-preview/lora", "anima"),
        ("wan2.1/lora", "wan"),
        # Draw Things writes it for 14B, too.
        ("wan_v2.1_1.3b", "wan"),
        ("lumina/lora", "lumina-2"),
        # SimpleTuner's families and flavours.
        ("qwen_image-edit-v2+/lora", "qwen-image-edit-2509"),
        ("z_image-base/lora", "z-image"),
        ("wan-i2v-14b-2.2-high/lora", "wan-2.2-i2v-a14b"),
        ("hunyuanvideo-t2v-480p/lora", "hunyuan-video-1.5"),
        ("ernie-turbo/lora", "ernie-image-turbo"),
        ("cosmos2image-2b/lora", "cosmos-predict2-2b"),
        ("longcat_image-final/lora", "longcat-image"),
        ("kolors-1.0/lora", "kolors"),
        ("sana-sana1.0-1.6b-1024/lora", "sana-1.6b"),
        ("sana-sana1.5-1.6b-1024/lora", "sana-1.5-1.6b"),
        ("sana-sana1.0-600m-512/lora", "sana-0.6b"),
        ("kandinsky5-image-t2i-lite-sft/lora", "kandinsky-5-image"),
        ("kandinsky5-image-i2i-lite-sft/lora", "kandinsky-5-image-edit"),
        ("sd2x-2.0/lora", "sd-2.0"),
        ("minimax_h3_ref2va", "minimax-h3-ref2va"),
        ("wan_2.2_14b", "wan-2.2-a14b"),
        ("hunyuan-video-1.5/lora", "hunyuan-video-1.5"),
        ("Ideogram/lora", "ideogram-4"),
        ("wan3", None),
        ("", None),
    ],
)
def test_trainers_words_are_known(words: str, base_model: str | None) -> None:
    assert name_claim(words) == base_model


def test_words_of_hubs_and_trainers_mean_the_same_family() -> None:
    """ "FLUX_1" is ModelScope's for FLUX.1-dev and sd-scripts' for any FLUX.1."""
    listed, claimed = words_of("hub_words"), words_of("trainer_words")
    both = listed.keys() & claimed.keys()

    assert len(both) > 40
    for word in both:
        hub, trainer = listed[word], claimed[word]
        assert hub == trainer or (family_names(hub) and family_names(hub) == family_names(trainer))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_base_model_is_found_by_each_of_its_words(variant: Variant) -> None:
    assert all(name_listed([word]) == variant.name for word in variant.hub_words)
    assert all(name_claim(word) == variant.name for word in variant.trainer_words)
    assert variant.hub_id is None or name_listed([variant.hub_id]) == variant.name


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("1.5", ["sd-1.5"]),
        ("v1-5", ["sd-1.5"]),
        ("SD1", ["sd-1.5"]),
        ("stable diffusion xl", ["sdxl-1.0"]),
        ("XL", ["sdxl-1.0"]),
        ("ＳＤＸＬ", ["sdxl-1.0"]),
        ("pony xl", ["pony"]),
        ("Pony Diffusion", ["pony"]),
        ("PDXL", ["pony"]),
        ("IL", ["illustrious"]),
        ("ILXL", ["illustrious"]),
        ("illustrious-xl v1", ["illustrious"]),
        ("混元", HUNYUAN),
        ("hunyuan", HUNYUAN),
        ("flux", ["flux.1", "flux.1-lite", "flux.2", "flux.3"]),
        ("sd", STABLE_DIFFUSION),
        ("Stable Diffusion", STABLE_DIFFUSION),
        ("FLUX_1", ["flux.1"]),
        ("F.1", ["flux.1"]),
        ("基础算法 F.1", ["flux.1"]),
        ("通义千问", ["qwen-image"]),
        ("万相2.2", ["wan"]),
        ("通义万相2.1", ["wan"]),
        ("万相", ["wan"]),
        ("f", []),
        ("my flux mix", []),
        ("", []),
    ],
)
def test_people_may_mean_several_base_models(words: str, names: list[str]) -> None:
    assert sorted(names_meant(words)) == names
    assert find_base_model(words) == (names[0] if len(names) == 1 else None)


def test_what_hubs_and_trainers_say_is_not_read_by_peoples_words() -> None:
    """Weights loaded into the wrong base give noise: "IL" on a card may be anything."""
    for word in ("1.5", "sd", "XL", "PDXL", "IL", "flux", "ＳＤＸＬ"):
        assert name_listed([word]) == "unknown"
        assert name_claim(word) is None


def test_peoples_words_say_more_than_others() -> None:
    """One that hubs or trainers have, too, would never be looked at."""
    told = {*words_of("hub_words"), *words_of("trainer_words")}

    for variant in VARIANTS:
        assert told.isdisjoint(variant.people_words), variant.name
        for word in variant.people_words:
            assert variant.name in names_meant(word)


def test_no_word_stands_for_two_base_models() -> None:
    alike = [Variant("x-1", hub_words=("X 1",)), Variant("x-1-turbo", hub_words=("x_1",))]

    with pytest.raises(ValueError, match="'x1' of hub_words is x-1 and x-1-turbo"):
        collect_words(alike, "hub_words")
