"""A node for ComfyUI: words -> LoRAs that a registry finds for them, as a LORA_STACK.

ComfyUI finds it where this folder lies in its `custom_nodes`.
"""

from typing import Any

import folder_paths
from comfy.utils import ProgressBar
from comfy_api.latest import ComfyExtension, io

from .registry import Chosen, Registry, missing_words

LoraStack = io.Custom("LORA_STACK")


class ChooseLoras(io.ComfyNode):
    """Asks a registry for LoRAs that suit a text, and fetches their files into `models/loras`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AutoLoraChoose",
            display_name="Choose LoRAs (AutoLoRA)",
            category="loaders",
            description="Finds LoRAs that do what the text says, each for another part of it, and "
            "fetches their files into models/loras, checked by sha256.",
            inputs=[
                io.String.Input("text", multiline=True, tooltip="In English or Chinese."),
                io.String.Input(
                    "base_model",
                    default="",
                    tooltip="Such as flux.1-dev or sdxl-1.0; empty: what the registry has most of.",
                ),
                io.Int.Input("count", default=3, min=1, max=5, tooltip="At most this many."),
                io.String.Input("registry", default="http://127.0.0.1:8000"),
                LoraStack.Input("lora_stack", optional=True, tooltip="Goes before what is found."),
            ],
            outputs=[
                LoraStack.Output(display_name="LORA_STACK"),
                io.String.Output(
                    display_name="trigger_words",
                    tooltip="Those that the text lacks, escaped for a text encoder.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        text: str,
        base_model: str,
        count: int,
        registry: str,
        lora_stack: list[Any] | None = None,
    ) -> io.NodeOutput:
        source = Registry(registry)
        chosen = source.choose(text, count, base_model.strip())
        stack = list(lora_stack or [])
        for adapter in chosen:
            bar = ProgressBar(1)
            source.fetch(
                adapter,
                folder_paths.get_folder_paths("loras")[0],
                lambda done, total, bar=bar: bar.update_absolute(done, total),
            )
            # Text encoders stay as they are, as in everything that the registry draws.
            stack.append((adapter.file_name, adapter.strength, 0.0))
        return io.NodeOutput(stack, ", ".join(missing_words(text, chosen)))


class AutoLora(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [ChooseLoras]


async def comfy_entrypoint() -> AutoLora:
    return AutoLora()


__all__ = ["AutoLora", "ChooseLoras", "Chosen", "comfy_entrypoint"]
