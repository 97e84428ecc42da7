"""Open our PNGs in ComfyUI's own frontend, in a browser: no node is missing, and it would run ours.

    python -m benchmarks.comfyui FRONTEND_FOLDER --output FOLDER

FRONTEND_FOLDER is `static` of the package comfyui-frontend-package; needs Playwright and Chromium.
"""

import argparse
import base64
import json
import shutil
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.comfyui.nodes import object_info
from benchmarks.comfyui.server import ComfyUI, comfyui
from registry.fusion.exports.export import export
from registry.fusion.png import png_bytes
from registry.fusion.recipe import Recipe

# Base models and how recipes call their pipelines.
BASES = {
    "flux.1-dev": "flux",
    "flux.1-schnell": "flux",
    "sdxl-1.0": "sdxl",
    "sd-1.5": "sd",
    "qwen-image": "qwen-image",
}
# The folder of models that a node's input names a file of.
FOLDERS = {
    "lora_name": "loras",
    "unet_name": "diffusion_models",
    "ckpt_name": "checkpoints",
    "vae_name": "vae",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
}
# Drops a picture on the editor, and asks what it would run.
DROP = """async (png) => {
  const bytes = Uint8Array.from(atob(png), (sign) => sign.charCodeAt(0));
  await app.handleFile(new File([bytes], "fused.png", { type: "image/png" }));
  await new Promise((done) => setTimeout(done, 1500));
  const prompt = await app.graphToPrompt();
  return {
    faulty: app.graph.nodes.filter((node) => node.has_errors).map((node) => node.type),
    dialogs: [...document.querySelectorAll("[role=dialog]")].map((box) => box.innerText),
    output: prompt.output,
  };
}"""


def recipe_for(base_model: str, pipeline: str) -> Recipe:
    """Return a recipe with two adapters, and a prompt of signs that mean something there."""
    adapters = [
        {"name": "Red Heart", "sha256": "a" * 64, "strength": 0.8},
        {"name": "水彩", "sha256": "b" * 64, "strength": 0.5},
    ]
    prompt = "saber (fate), {a|b} [c], 水彩"
    told = {
        "schema": 2, "prompt": prompt, "full_prompt": prompt, "negative_prompt": "bad (hands)",
        "seed": 7, "steps": 20, "guidance": 3.5, "width": 512, "height": 768, "mode": "sum",
        "adapters": adapters, "gates_sha256": None, "versions": {}, "threads": 1,
        "base": {"name": base_model, "backend": f"diffusers-{pipeline}", "files": {}},
    }  # fmt: skip
    return Recipe.from_json(json.dumps(told))


def files_of(graph: dict[str, Any]) -> dict[str, set[str]]:
    """Return the files that a graph loads, by folder."""
    files: dict[str, set[str]] = defaultdict(set)
    for node in graph.values():
        for name, value in node["inputs"].items():
            if name in FOLDERS:
                files[FOLDERS[name]].add(value)
    return files


def look(browser: Any, server: ComfyUI, recipe: Recipe, screenshot: Path) -> list[str]:
    """Drop a recipe's PNG on the editor; return what is wrong."""
    graph = json.loads(export(recipe, "comfyui-api"))
    server.nodes = object_info(files_of(graph))
    page = browser.new_page(viewport={"width": 1800, "height": 1100})
    page.goto(server.url)
    page.wait_for_function("() => window.app?.graph?.nodes", timeout=120_000)
    page.wait_for_timeout(2500)
    png = png_bytes(Image.new("RGB", (64, 64)), recipe)
    seen = page.evaluate(DROP, base64.b64encode(png).decode())
    page.screenshot(path=screenshot)
    page.close()
    run = {
        id_: {"class_type": node["class_type"], "inputs": node["inputs"]}
        for id_, node in seen["output"].items()
    }
    wrong = [f"{kind} has errors" for kind in seen["faulty"]]
    wrong += [f"a dialog says {text!r}" for text in seen["dialogs"]]
    wrong += [] if run == graph else ["the editor would run another graph"]
    status, answer = server.take({"prompt": run})
    return wrong + ([] if status == 200 else [f"ComfyUI would refuse it: {answer}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frontend", type=Path)
    parser.add_argument("--output", type=Path, default=Path())
    asked = parser.parse_args()
    # It is not needed for anything else here.
    playwright = import_module("playwright.sync_api")
    wrong = 0
    with comfyui({}, asked.frontend) as server, playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for base_model, pipeline in BASES.items():
            screenshot = asked.output / f"comfyui-{base_model}.png"
            faults = look(browser, server, recipe_for(base_model, pipeline), screenshot)
            print(f"{base_model}: {'; '.join(faults) or 'loads, and runs what we export'}")
            wrong += len(faults)
        browser.close()
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
