"""The recipe of an image: everything that is needed to draw it again, inside its PNG."""

from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal, Self

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crawler.broken_images import BROKEN_IMAGE
from registry.errors import first_fault
from registry.fusion.errors import RecipeError
from registry.fusion.options import GuideFrom, Mode

# The keyword of the PNG's text chunk.
PNG_KEY = "autolora-recipe"

# Recipes come from strangers, as PNGs on the web. Each bound is far above what is of use, and
# far below what would keep a machine busy or fill it.
MOST_FILE_BYTES = 100_000_000
MOST_PIXELS = 4096**2
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
AutoV3 = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
Name = Annotated[str, Field(max_length=1000)]
Prompt = Annotated[str, Field(max_length=20_000)]
Pixels = Annotated[int, Field(ge=0, le=4096)]
Ratio = Annotated[float, Field(ge=-1000, le=1000)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RecipeAdapter(_Frozen):
    """An adapter as it was used."""

    id: int | None = None  # in the registry that made the image
    name: Name
    sha256: Sha256
    strength: Ratio
    # How far it leads all others in the part of the prompt where it does most, -2..2; alone, how
    # near that part is to it. Gates may listen to it.
    relevance: Ratio | None = None
    # Its answers to the gates' own questions; empty where they have none, or do not know it.
    leanings: Annotated[tuple[Ratio, ...], Field(max_length=1000)] = ()
    licence: Name | None = None
    # The words that were added to the prompt.
    trigger_words: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    # The hash by which web UIs and Civitai know it; None where its file was not looked at.
    autov3: AutoV3 | None = None
    # Alpha / rank of its layers where no tensor of its file says it, but PEFT's config does, which
    # few programs read, and whether that stands in the file; None where tensors do.
    config_scale: Ratio | None = None
    config_in_file: bool = False
    # The text encoders that its file changes as well; that is left out here.
    text_encoders: Annotated[tuple[Name, ...], Field(max_length=10)] = ()


class RecipeBase(_Frozen):
    """The base model: its family, and the files it was loaded from."""

    name: Name
    backend: Name
    # relative path -> sha256
    files: Annotated[dict[Name, Sha256], Field(max_length=1000)]
    licence: Name | None = None


class Recipe(_Frozen):
    """Everything that fixes an image's pixels. On the same machine, to the bit."""

    # "schema" is a method's name in pydantic.
    schema_version: Literal[1, 2] = Field(default=2, alias="schema")
    prompt: Prompt
    full_prompt: Prompt  # with trigger words: what the base was given
    negative_prompt: Prompt
    # Greater ones are no longer exact in JSON, as most programs read it.
    seed: int = Field(ge=0, le=2**53 - 1)
    steps: int = Field(ge=0, le=1000)
    guidance: Ratio
    width: Pixels
    height: Pixels
    mode: Mode
    guide_from: GuideFrom = "fused"  # as all images of schema 1 were drawn
    adapters: Annotated[tuple[RecipeAdapter, ...], Field(max_length=100)]
    gates_sha256: Sha256 | None  # None when the mode uses none
    gates_kind: Name | None = None
    base: RecipeBase
    licence: Name | None = None  # the strictest of the adapters' and the base's
    # How much more all adapters changed the base's output than the strongest alone; None
    # where it was not measured. What was found to be said of it and of the licences.
    departure: float | None = None
    warnings: Annotated[tuple[Prompt, ...], Field(max_length=1000)] = ()
    # The versions of the libraries that shape the pixels.
    versions: Annotated[dict[Name, Name], Field(max_length=100)]
    threads: int = Field(ge=1, le=1024)  # sums depend on how they are split

    @property
    def share(self) -> float:
        """What strengths are multiplied by: an average divides them by the number in use."""
        used = sum(adapter.strength != 0 for adapter in self.adapters)
        return 1 / used if self.mode == "average" and used else 1.0

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes, name: str = "") -> Self:
        """Read a recipe written by `to_json`; `name` is what errors call the file, if it is one.

        Raises:
            RecipeError: it is no recipe, or one of a newer version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            what = f"{name} is not" if name else "not"
            raise RecipeError(f"{what} a recipe of schema 1 or 2: {first_fault(error)}") from error


def read_recipe(path: Path) -> Recipe:
    """Read the recipe from a PNG, or from a JSON file, whatever it is called.

    Raises:
        RecipeError: the file is absent, or carries no recipe.
    """
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise RecipeError(f"{path} is too large for a recipe, or for an image of ours")
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error}") from error
    if data.lstrip()[:1] == b"{":
        return Recipe.from_json(data, str(path))
    return recipe_in_png(data, str(path))


def recipe_in_png(data: bytes, name: str) -> Recipe:
    """Read the recipe that a PNG carries; `name` is what errors call it.

    Raises:
        RecipeError: it is no PNG, or carries no recipe.
    """
    try:
        # Of Pillow's many formats, some start other programs: Ghostscript for PostScript.
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise RecipeError(f"{name} has more pixels than any image of ours")
            image.load()  # text chunks may follow the pixels
            text = image.info.get(PNG_KEY)
    except UnidentifiedImageError as error:
        # Pillow's own words name an object in memory.
        raise RecipeError(f"{name} cannot be read: cannot identify image file") from error
    except BROKEN_IMAGE as error:
        raise RecipeError(f"{name} cannot be read: {error}") from error
    if not isinstance(text, str):
        raise RecipeError(f"{name} carries no recipe; was it saved by another program?")
    return Recipe.from_json(text, name)
