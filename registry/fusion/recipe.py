"""The recipe of an image: everything that is needed to draw it again, inside its PNG."""

from io import BytesIO
from pathlib import Path
from typing import Literal, Self

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.fusion.errors import RecipeError
from registry.fusion.options import GuideFrom, Mode

# The keyword of the PNG's text chunk.
PNG_KEY = "autolora-recipe"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RecipeAdapter(_Frozen):
    """An adapter as it was used."""

    id: int | None = None  # in the registry that made the image
    name: str
    sha256: str
    strength: float
    # How far it leads all others in the part of the prompt where it does most, -2..2; alone, how
    # near that part is to it. Gates may listen to it.
    relevance: float | None = None
    # Its answers to the gates' own questions; empty where they have none, or do not know it.
    leanings: tuple[float, ...] = ()
    licence: str | None = None
    trigger_words: tuple[str, ...] = ()  # those added to the prompt


class RecipeBase(_Frozen):
    """The base model: its family, and the files it was loaded from."""

    name: str
    backend: str
    files: dict[str, str]  # relative path -> sha256
    licence: str | None = None


class Recipe(_Frozen):
    """Everything that fixes an image's pixels. On the same machine, to the bit."""

    # "schema" is a method's name in pydantic.
    schema_version: Literal[1, 2] = Field(default=2, alias="schema")
    prompt: str
    full_prompt: str  # with trigger words: what the base was given
    negative_prompt: str
    seed: int
    steps: int
    guidance: float
    width: int
    height: int
    mode: Mode
    guide_from: GuideFrom = "fused"  # as all images of schema 1 were drawn
    adapters: tuple[RecipeAdapter, ...]
    gates_sha256: str | None  # None when the mode uses none
    gates_kind: str | None = None
    base: RecipeBase
    licence: str | None = None  # the strictest of the adapters' and the base's
    # How much more all adapters changed the base's output than the strongest alone; None
    # where it was not measured. What was found to be said of it and of the licences.
    departure: float | None = None
    warnings: tuple[str, ...] = ()
    versions: dict[str, str]  # of the libraries that shape the pixels
    threads: int  # sums depend on how they are split

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a recipe written by `to_json`.

        Raises:
            RecipeError: it is no recipe, or one of a newer version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "JSON"
            raise RecipeError(f"not a recipe of schema 1 or 2: {where}: {first['msg']}") from error


def png_bytes(image: Image.Image, recipe: Recipe) -> bytes:
    """Return a PNG that carries its recipe."""
    info = PngInfo()
    info.add_itxt(PNG_KEY, recipe.to_json())
    buffer = BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def save_png(image: Image.Image, recipe: Recipe, path: Path) -> None:
    """Write a PNG that carries its recipe, atomically."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(png_bytes(image, recipe))
    partial.replace(path)


def read_recipe(path: Path) -> Recipe:
    """Read the recipe from a PNG, or from a JSON file.

    Raises:
        RecipeError: the file is absent, or carries no recipe.
    """
    try:
        if path.suffix.lower() == ".json":
            return Recipe.from_json(path.read_bytes())
        with Image.open(path) as image:
            image.load()  # text chunks may follow the pixels
            text = image.info.get(PNG_KEY)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from error
    if not isinstance(text, str):
        raise RecipeError(f"{path} carries no recipe; was it saved by another program?")
    return Recipe.from_json(text)
