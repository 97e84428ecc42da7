"""What an assistant may ask of the registry over the Model Context Protocol [1].

Answers are shorter than the API's: an assistant reads every word of them.

- [1] https://modelcontextprotocol.io
"""

import base64
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, Self, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field

from crawler.errors import AutoLoraError
from crawler.foreign_text import one_line
from registry.api.schemas.adapters import AdapterAnswer, AdapterDetailAnswer
from registry.api.schemas.fuse import ChosenAdapter
from registry.cli.errors import UsageError
from registry.cli.inspect import inspect_file
from registry.cli.output import VERDICT_LISTS
from registry.connection import own_version
from registry.fusion.options import Mode
from registry.fusion.recipe import Recipe
from registry.reader import Drawer, Reader
from registry.retrieval.terms import Band, ComparedBy, FilterOptions

Asked = ParamSpec("Asked")
Answered = TypeVar("Answered")

INSTRUCTIONS = (
    "Finds LoRA adapters of image models by what they do, in English or Chinese, and draws with "
    "them. Adapters are named by their ids. Look at `band` before you recommend one: what probably "
    "does not fit is listed too. Say an adapter's licence when you recommend it."
)
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
DRAWS = ToolAnnotations(read_only_hint=True, open_world_hint=False, idempotent_hint=True)

Id = Annotated[int, Field(ge=1, description="An adapter's id, as the other tools give it.")]
Many = Annotated[int, Field(ge=1, le=50, description="At most so many.")]
Prompt = Annotated[str, Field(min_length=1, max_length=2000, description="What to draw.")]
Most = Annotated[int, Field(ge=1, le=5, description="Choose at most so many adapters.")]
BaseModelName = Annotated[
    str | None, Field(max_length=200, description="The base model, as in flux.1-dev or sdxl.")
]
Words = Annotated[list[str] | None, Field(max_length=20)]
Pixels = Annotated[int | None, Field(ge=16, le=2048, description="Default: the base model's own.")]


class Lora(BaseModel):
    """An adapter, in short."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    author: str
    base_model: str = Field(description="It works with this base model and its variants only.")
    trigger_words: list[str] = Field(description="Words that a prompt needs for it to act.")
    licence: str | None = Field(description="null: none is stated, so nothing is allowed.")
    mature: bool | None
    strength: float | None = Field(description="What its author prefers to use it at.")
    fusable: bool
    page_url: str | None


class FoundLora(Lora):
    score: float = Field(description="How probable it is that it fits, or how similar it is.")
    band: Band | None = Field(default=None, description="What the score means.")

    @classmethod
    def of(cls, adapter: AdapterAnswer, score: float, band: Band | None) -> Self:
        return cls(**Lora.model_validate(adapter).model_dump(), score=score, band=band)


class FoundLoras(BaseModel):
    results: list[FoundLora] = Field(description="The most probable first.")
    notes: list[str] = Field(description="What the search lacks.")


class SimilarLoras(BaseModel):
    results: list[FoundLora] = Field(description="The most similar first.")
    compared_by: ComparedBy = Field(
        description="`encoder` knows what images look like; `fingerprints` tell copies only."
    )


class ChosenLoras(BaseModel):
    adapters: list[Lora] = Field(description="One for each thing that the prompt names.")


class ShownLora(Lora):
    """All that an assistant may want to know of an adapter."""

    description: str
    tags: list[str]
    negative_prompt: str
    downloads: int
    hub: str
    state: str
    refusal: str | None
    file_name: str
    file_size: int | None
    file_sha256: str | None
    shown: list[str] = Field(description="What its covers were asked for, or show.")
    verdict: dict[str, Any] | None = Field(description="What its file says of itself.")

    @classmethod
    def of(cls, detail: AdapterDetailAnswer) -> Self:
        known = {name: getattr(detail, name, None) for name in cls.model_fields}
        words = [cover.prompt or " ".join(cover.captions[:1]) for cover in detail.covers]
        verdict = detail.verdict and _without_lists(detail.verdict)
        return cls(**(known | {"shown": [each for each in words if each], "verdict": verdict}))


class UsedLora(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int | None
    name: str
    strength: float
    trigger_words: list[str] = Field(description="Those that were added to the prompt.")
    licence: str | None


class DrawnImage(BaseModel):
    """How an image was drawn; the image itself comes beside it, and carries its recipe."""

    full_prompt: str
    base_model: str
    adapters: list[UsedLora]
    licence: str | None = Field(description="The strictest of all that were used.")
    warnings: list[str]
    mode: Mode
    seed: int
    steps: int
    width: int
    height: int

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        return cls(
            **recipe.model_dump(include=set(cls.model_fields) - {"adapters", "base_model"}),
            base_model=recipe.base.name,
            adapters=[UsedLora.model_validate(used) for used in recipe.adapters],
        )


class Tools:
    """The tools, over what answers and what draws; both may be a server that runs elsewhere."""

    def __init__(self, reader: Reader, drawer: Drawer) -> None:
        self._reader = reader
        self._drawer = drawer

    def search_loras(
        self,
        text: Annotated[
            str, Field(min_length=1, max_length=2000, description="What the images look like.")
        ],
        limit: Many = 10,
        base_model: Words = None,
        tag: Words = None,
        author: Words = None,
        licence: Words = None,
        commercial: Annotated[
            bool | None, Field(description="Whether its licence lets pictures be sold.")
        ] = None,
        mature: Annotated[
            Literal["any", "hide", "only"], Field(description="`hide` keeps what nobody rated.")
        ] = "hide",
    ) -> FoundLoras:
        """Find LoRA adapters that do what a text describes, in English or Chinese.

        Of several values of a filter one must hold, but an adapter has all tags.
        """
        filters: FilterOptions = {"mature": mature, "commercial": commercial}
        if base_model:
            filters["base_model"] = base_model
        if tag:
            filters["tag"] = tag
        if author:
            filters["author"] = author
        if licence:
            filters["licence"] = licence
        page = self._reader.search(text, limit, **filters)
        found = [FoundLora.of(one.adapter, one.score, one.band) for one in page.results]
        return FoundLoras(results=found, notes=page.notes)

    def show_lora(self, adapter_id: Id) -> ShownLora:
        """Tell all that is known of an adapter: its words, licence, file and what it shows."""
        return ShownLora.of(self._reader.show(adapter_id))

    def similar_loras(self, adapter_id: Id, limit: Many = 10) -> SimilarLoras:
        """List adapters of the same family whose weights are most similar to one's."""
        found = self._reader.similar(adapter_id, limit)
        results = [FoundLora.of(one.adapter, one.score, None) for one in found.results]
        return SimilarLoras(results=results, compared_by=found.compared_by)

    def choose_loras(
        self, prompt: Prompt, k: Most = 3, base_model: BaseModelName = None
    ) -> ChosenLoras:
        """Choose adapters to draw a prompt with: one for each thing that it names."""
        chosen = self._reader.choose(prompt, k, base_model=base_model)
        return ChosenLoras(adapters=[Lora.model_validate(choice.adapter) for choice in chosen])

    def inspect_file(
        self,
        path: Annotated[str, Field(description="A .safetensors file on this machine.")],
    ) -> dict[str, Any]:
        """Say what an adapter's file is: base model, ranks, trainer, and whether it can be fused.

        The file is read, and nothing in it is run.
        """
        file = Path(path).expanduser()
        if file.suffix.lower() != ".safetensors" or not file.is_file():
            raise UsageError(f"{path!r} is no .safetensors file on this machine.")
        return _without_lists(inspect_file(file).to_json())

    def fuse(
        self,
        prompt: Prompt,
        k: Most = 3,
        adapters: Annotated[
            list[ChosenAdapter] | None,
            Field(min_length=1, max_length=5, description="These, rather than those found."),
        ] = None,
        base_model: BaseModelName = None,
        mode: Annotated[Mode, Field(description="How adapters are put together.")] = "gated",
        seed: Annotated[int, Field(ge=0, lt=2**32, description="Another one, another image.")] = 0,
        steps: Annotated[int | None, Field(ge=1, le=100)] = None,
        width: Pixels = None,
        height: Pixels = None,
    ) -> Annotated[CallToolResult, DrawnImage]:
        """Draw an image with adapters that suit the prompt, or with those named."""
        side = width or height
        drawn = self._drawer.fuse(
            prompt,
            k=k,
            adapters=None if adapters is None else [each.id for each in adapters],
            strengths=None if adapters is None else [each.strength for each in adapters],
            base_model=base_model,
            mode=mode,
            seed=seed,
            steps=steps,
            size=None if side is None else (width or side, height or side),
        )
        told = DrawnImage.of(drawn.recipe)
        image = base64.b64encode(drawn.png_bytes()).decode()
        return CallToolResult(
            content=[
                ImageContent(type="image", data=image, mime_type="image/png"),
                TextContent(type="text", text=told.model_dump_json()),
            ],
            structured_content=told.model_dump(mode="json"),
        )


def make_server(reader: Reader, drawer: Drawer) -> MCPServer:
    """Return a server of all tools; its files are this machine's, so it is for stdio only."""
    tools = Tools(reader, drawer)
    server = MCPServer("autolora", instructions=INSTRUCTIONS, version=own_version())
    reading: Sequence[Callable[..., Any]] = (
        tools.search_loras,
        tools.show_lora,
        tools.similar_loras,
        tools.choose_loras,
        tools.inspect_file,
    )
    for tool in reading:
        server.add_tool(_telling(tool), annotations=READS)
    server.add_tool(_telling(tools.fuse), annotations=DRAWS)
    return server


def _telling(tool: Callable[Asked, Answered]) -> Callable[Asked, Answered]:
    """Let the assistant read what our errors say; of others it learns nothing."""

    @wraps(tool)
    def told(*args: Asked.args, **given: Asked.kwargs) -> Answered:
        try:
            return tool(*args, **given)
        except AutoLoraError as error:
            raise ToolError(one_line(str(error))) from error

    return told


def _without_lists(facts: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is long and for programs: lists of layers, and the fingerprint itself."""
    return {
        name: _without_lists(value) if isinstance(value, dict) else value
        for name, value in facts.items()
        if name not in (*VERDICT_LISTS, "base64")
    }
