"""What recipes are exported with, and what ComfyUI answers."""

from pydantic import Field

from registry.api.schemas.shapes import Answer, Asked
from registry.fusion.options import Target


class ExportParams(Asked):
    to: Target = Field(
        description='"comfyui" is what its editor opens, "comfyui-api" what its HTTP API runs.'
    )


class SentAnswer(Answer):
    """A workflow that ComfyUI took."""

    prompt_id: str = Field(
        examples=["6b1c9a52-7d0e-4f3a-9f51-2f0f6f7f8a10"],
        description="Its images are at ComfyUI's /history/{prompt_id}.",
    )
    number: float = Field(examples=[3.0], description="Its place in ComfyUI's queue.")
