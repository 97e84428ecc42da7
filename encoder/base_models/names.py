"""What base models are called: by us, and in the files that trainers write."""

# Base models by family, the most general name first and the most special last.
VARIANTS = {
    "flux.1": (
        "flux.1", "flux.1-dev", "flux.1-schnell", "flux.1-fill-dev", "flux.1-krea-dev",
        "flux.1-kontext-dev",
    ),
    "flux.2-dev": ("flux.2-dev",),
    "flux.2-klein-4b": ("flux.2-klein-4b", "flux.2-klein-base-4b"),
    "flux.2-klein-9b": ("flux.2-klein-9b", "flux.2-klein-base-9b"),
    "sdxl-1.0": (
        "sdxl-1.0", "sdxl-turbo", "sdxl-lcm", "sdxl-lightning", "sdxl-hyper", "animagine",
        "pony", "illustrious", "noobai",
    ),
    "sd-1.5": ("sd-1.5", "sd-1.4", "sd-1.5-lcm", "sd-1.5-hyper"),
    "sd-2.1": ("sd-2.1", "sd-2.0"),
    "qwen-image": (
        "qwen-image", "qwen-image-2512", "qwen-image-layered", "qwen-image-edit",
        "qwen-image-edit-2509", "qwen-image-edit-2511",
    ),
    "z-image": ("z-image", "z-image-turbo"),
    "demo-flux-tiny": ("demo-flux-tiny",),
}  # fmt: skip

# Other architectures with layers of ours, to tell them apart; their adapters are not read.
LOOKALIKE_NAMES = (
    "chroma", "flux.1-lite", "hunyuan-video", "kolors", "krea-2", "qwen-image-2.1",
    "segmind-vega", "ssd-1b",
)  # fmt: skip
# Base models known by name alone.
OTHERS = (
    "auraflow", "flux.3", "hidream", "lumina-2", "playground-v2", "pony-v7", "sd-3",
    "sd-3.5-large", "sd-3.5-medium",
)  # fmt: skip
# Names that leave the size open; layers tell it.
GENERAL = {"flux.2": ("flux.2-dev", "flux.2-klein-4b", "flux.2-klein-9b")}

# What trainers write into files, by our name: letters and digits of modelspec.architecture,
# ss_base_model_version and ss_sd_model_name (a file or a hub's id) of sd-scripts [1],
# musubi-tuner [2], ai-toolkit [3] and OneTrainer [4]. Hubs' words are in crawler/base_models.py.
# - [1] https://github.com/kohya-ss/sd-scripts library/sai_model_spec.py, library/*_util*.py
# - [2] https://github.com/kohya-ss/musubi-tuner utils/sai_model_spec.py, dataset/architectures.py
# - [3] https://github.com/ostris/ai-toolkit get_base_model_version of its models
# - [4] https://github.com/Nerogar/OneTrainer resources/sd_model_spec, modelSaver/mixin
CLAIMS = {
    "flux.1": ["flux1"],
    "flux.1-dev": ["flux1dev", "fluxdev", "flux1devfp8"],
    "flux.1-schnell": ["flux1schnell", "fluxschnell"],
    "flux.1-fill-dev": ["flux1filldev"],
    "flux.1-krea-dev": ["flux1kreadev", "flux1krea", "fluxkrea", "fluxkreadev"],
    "flux.1-kontext-dev": [
        "flux1kontextdev", "flux1kontext", "fluxkontext", "fluxkontextdev",
    ],
    "flux.2": ["flux2", "flux2klein"],
    "flux.2-dev": ["flux2dev"],
    "flux.2-klein-4b": ["flux2klein4b"],
    "flux.2-klein-base-4b": ["flux2kleinbase4b"],
    "flux.2-klein-9b": ["flux2klein9b"],
    "flux.2-klein-base-9b": ["flux2kleinbase9b"],
    "sdxl-1.0": [
        "sdxl", "sdxl10", "sdxlbasev10", "sdxlbasev09", "sdxlbase10", "sdxlbase1009vae",
        "stablediffusionxlbase10", "stablediffusionxlv1base", "stablediffusionxlv1baseinpainting",
    ],
    "pony": ["ponydiffusionv6xl", "ponydiffusionv6xlv6startwiththisone"],
    "illustrious": [
        "illustriousxl", "illustriousxlv01", "illustriousxlv10", "illustriousxlv11",
        "illustriousxlv20", "illustriousxlearlyreleasev0",
    ],
    "noobai": [
        "noobaixl", "noobaixl11", "noobaixlv11", "noobaixlvpred10", "noobaixlvpredv10",
        "noobaixlnaixlvpred10version", "noobaixlnaixlepsilonpred11version",
    ],
    "animagine": ["animaginexl31", "animaginexl40", "animaginexl40opt"],
    "sd-1.5": [
        "sdv1", "sdv1v", "sd15", "stablediffusionv1", "stablediffusionv1inpainting",
        "stablediffusionv15", "v15pruned", "v15prunedemaonly",
    ],
    "sd-1.4": ["stablediffusionv14"],
    "sd-2.1": [
        "sdv2", "sdv2v", "sd21", "stablediffusionv2", "stablediffusionv2512",
        "stablediffusionv2768v", "stablediffusionv2inpainting", "stablediffusionv2depth",
        "stablediffusion21", "stablediffusion21base", "v21768emapruned", "v21512emapruned",
    ],
    "sd-2.0": ["stablediffusion2", "stablediffusion2base", "768vema", "512baseema"],
    "qwen-image": ["qwenimage", "qwenimagebf16"],
    "qwen-image-2512": ["qwenimage2512", "qwenimage2512bf16"],
    "qwen-image-layered": ["qwenimagelayered"],
    "qwen-image-edit": ["qwenimageedit", "qwenimageeditplus", "qwenimageeditbf16"],
    "qwen-image-edit-2509": ["qwenimageedit2509", "qwenimageedit2509bf16"],
    "qwen-image-edit-2511": ["qwenimageedit2511", "qwenimageedit2511bf16"],
    "z-image": ["zimage"],
    "z-image-turbo": ["zimageturbo", "zimageturbobf16"],
    "demo-flux-tiny": ["demofluxtiny"],
    "chroma": ["chroma", "chroma1", "chroma1hd", "chroma1base"],
    "hunyuan-video": ["hunyuanvideo", "framepack"],
    "krea-2": ["krea2"],
    "kolors": ["kolors"],
    "sd-3": ["sd3", "stablediffusion3", "stablediffusion3m", "stablediffusionv3medium"],
    "sd-3.5-large": ["stablediffusion35large", "stablediffusionv35"],
    "sd-3.5-medium": ["stablediffusion35medium"],
    "auraflow": ["auraflow"],
    "lumina-2": ["lumina2"],
    "ssd-1b": ["ssd", "ssd1b"],
    "segmind-vega": ["vega", "segmindvega"],
}  # fmt: skip
