import pytest

from crawler.base_models import normalise_base_model


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("black-forest-labs/FLUX.1-dev", "flux.1-dev"),
        ("black-forest-labs/FLUX.1-schnell", "flux.1-schnell"),
        ("MusePublic/489_ckpt_FLUX_1", "flux.1-dev"),
        ("FLUX_1", "flux.1-dev"),
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
        ("Flux.1 Krea", "flux.1-krea-dev"),
        ("black-forest-labs/FLUX.1-Kontext-dev", "flux.1-kontext-dev"),
        ("Flux.2 D", "flux.2-dev"),
        ("Flux.2 Klein 9B-base", "flux.2-klein-base-9b"),
        ("black-forest-labs/FLUX.2-klein-base-9B", "flux.2-klein-base-9b"),
        ("black-forest-labs/FLUX.2-klein-4B", "flux.2-klein-4b"),
        ("QWEN_IMAGE_20_B", "qwen-image"),
        ("QWEN_IMAGE_2512", "qwen-image-2512"),
        ("Qwen/Qwen-Image-Edit-2509", "qwen-image-edit-2509"),
        ("Qwen", "qwen-image"),
        ("Z_IMAGE_TURBO", "z-image-turbo"),
        ("ZImageBase", "z-image"),
        ("KREA_2_TURBO", "krea-2"),
    ],
)
def test_spellings_of_one_base_model_agree(spelling: str, name: str) -> None:
    assert normalise_base_model([spelling]) == name


@pytest.mark.parametrize("spelling", ["", "alice/flux-merge", "my FLUX.1-dev mix", None, 7])
def test_a_name_that_only_resembles_one_is_unknown(spelling: object) -> None:
    """Weights loaded into the wrong base give noise; unknown is honest."""
    assert normalise_base_model([spelling]) == "unknown"


def test_the_first_known_spelling_decides() -> None:
    assert normalise_base_model(["", "alice/merge", "SD_XL", "FLUX_1"]) == "sdxl-1.0"
