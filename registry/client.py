"""A registry elsewhere, asked from Python over HTTP: what its API answers, typed."""

import base64
import binascii
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Unpack
from urllib.parse import urlencode
from uuid import uuid4

from pydantic import TypeAdapter

from crawler.disk import DiskLimits
from registry.api.schemas.adapters import AdapterDetailAnswer, AdapterListAnswer
from registry.api.schemas.found import (
    DuplicateListAnswer,
    FacetsAnswer,
    SearchAnswer,
    SimilarAnswer,
)
from registry.connection import (
    Connection,
    RemoteError,
    RemoteSenseError,
    RemoteUnreachableError,
    encodable,
    receive,
)
from registry.errors import StrengthsError
from registry.retrieval.given_values import (
    MOST_CHOSEN,
    MOST_PAGE,
    Likes,
    Paging,
    check_choice,
    read_filters,
    read_id,
    read_question,
    read_text,
    read_whole,
)
from registry.retrieval.terms import (
    MATURITIES,
    SORTS,
    STATES,
    FilterOptions,
    FoundSort,
    Maturity,
    Sort,
    State,
)
from registry.saving import own_name, save_new, save_whole

if TYPE_CHECKING:
    import httpx
    from PIL.Image import Image

    from registry.api.schemas.fuse import ChoiceAnswer, FuseAnswer
    from registry.api.schemas.picture import PictureAnswer
    from registry.api.schemas.service import NightListAnswer, RunListAnswer, StatusAnswer
    from registry.fusion.fused_image import FusedImage
    from registry.fusion.options import DrawingOptions, Mode, StepCallback
    from registry.fusion.recipe import Recipe

# As many adapters as a recipe may have.
MOST_IN_ZIP = 100
# An image of the largest size as a data URL, and its recipe.
MOST_LINE_BYTES = 100_000_000
# Characters of a text, bytes of what every proxy passes (8 kB with path and host), and parameters
# that our admission takes; what is more is sent as a body.
MOST_IN_ADDRESS = 2000
MOST_QUERY_BYTES = 8000
MOST_PARAMETERS = 100
# Filters that the API takes as texts, whatever they bound.
IN_WORDS = ("min_size", "max_size", "updated_since", "updated_before")
# How often it is asked how far a sheet is.
LOOK_SECONDS = 0.3


class Client(Connection):
    """Asks the registry at `url`; every method raises RemoteError where that refuses.

    Its `problem` tells programs why. What makes no sense is refused before it is sent, as in this
    process.

    Where it is busy, or the network fails, it is asked up to three times. Close it, or use it as a
    context manager.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        transport: "httpx.BaseTransport | None" = None,
        *,
        direct: bool = False,
        limits: DiskLimits | None = None,
    ) -> None:
        """Open a connection as `Connection` does; `limits` are those of files that are saved.

        Raises as that does.
        """
        super().__init__(url, token, transport, direct=direct)
        self._limits = limits or DiskLimits()

    def search(
        self,
        text: str = "",
        limit: int = 10,
        *,
        cursor: str | None = None,
        like: Sequence[int] | int = (),
        unlike: Sequence[int] | int = (),
        unlike_text: str = "",
        sort: FoundSort = "relevance",
        seed: int = 0,
        **filters: Unpack[FilterOptions],
    ) -> SearchAnswer:
        """Return up to `limit` adapters that suit `text`, in English or Chinese, best first.

        With `like` and `unlike`, ids of adapters, those that are like some and unlike others; then
        `text` may be left out.
        """
        likes = Likes.read(like, unlike, unlike_text)
        asked = _given(
            {
                "q": read_question("text", text),
                "like": list(likes.like),
                "unlike": list(likes.unlike),
                "unlike_text": likes.unlike_text,
                **asdict(Paging.read(limit, cursor, sort, seed)),
                **_filters(filters),
            }
        )
        shape = TypeAdapter(SearchAnswer)
        # Most questions are asked by an address, which caches know.
        if max(len(asked["q"]), len(asked["unlike_text"])) > MOST_IN_ADDRESS or _is_long(asked):
            return self._ask("POST", "/v1/search", shape, json=asked)
        return self.get("/v1/search", asked, shape)

    def search_picture(
        self, picture: Path | str | bytes, limit: int = 10, **filters: Unpack[FilterOptions]
    ) -> "PictureAnswer":
        """Return up to `limit` adapters that a picture was made with, or that made one like it."""
        # Here, for it brings Pillow, which no other question needs.
        from registry.api.schemas.picture import PictureAnswer
        from registry.retrieval.picture_files import picture_bytes

        paging = Paging.read(limit, None)
        asked = _given({"limit": paging.limit, **_filters(filters)})
        return self.post(
            "/v1/search/picture", asked, picture_bytes(picture), TypeAdapter(PictureAnswer)
        )

    def list(
        self,
        sort: Sort = "newest",
        limit: int = 50,
        *,
        cursor: str | None = None,
        seed: int = 0,
        state: State = "ready",
        **filters: Unpack[FilterOptions],
    ) -> AdapterListAnswer:
        """Return a page of all adapters; its `next` is the next page's cursor."""
        paging = Paging.read(limit, cursor, sort, seed, most=MOST_PAGE, sorts=SORTS)
        state = check_choice("state", state, STATES)
        asked = {"state": state, **asdict(paging), **_filters(filters)}
        return self.get("/v1/adapters", _given(asked), TypeAdapter(AdapterListAnswer))

    def facets(self, **filters: Unpack[FilterOptions]) -> FacetsAnswer:
        """Return how many adapters there are of every value to filter by."""
        return self.get("/v1/facets", _filters(filters), TypeAdapter(FacetsAnswer))

    def show(self, adapter_id: int) -> AdapterDetailAnswer:
        """Return all that is known of an adapter."""
        path = f"/v1/adapters/{read_id(adapter_id)}"
        return self.get(path, {}, TypeAdapter(AdapterDetailAnswer))

    def similar(
        self,
        adapter_id: int,
        limit: int = 10,
        *,
        cursor: str | None = None,
        sort: FoundSort = "relevance",
        seed: int = 0,
        mature: Maturity = "any",
    ) -> SimilarAnswer:
        """Return adapters of the same family, those with the most similar weights first."""
        asked = _given(asdict(Paging.read(limit, cursor, sort, seed))) | _rated(mature)
        path = f"/v1/adapters/{read_id(adapter_id)}/similar"
        return self.get(path, asked, TypeAdapter(SimilarAnswer))

    def duplicates(
        self,
        adapter_id: int,
        limit: int = 10,
        *,
        cursor: str | None = None,
        sort: FoundSort = "relevance",
        seed: int = 0,
    ) -> DuplicateListAnswer:
        """Return adapters that are this one again: listed elsewhere, re-saved, little changed."""
        asked = _given(asdict(Paging.read(limit, cursor, sort, seed)))
        path = f"/v1/adapters/{read_id(adapter_id)}/duplicates"
        return self.get(path, asked, TypeAdapter(DuplicateListAnswer))

    def choose(
        self,
        prompt: str,
        k: int = 3,
        *,
        base_model: str | None = None,
        mature: Maturity = "any",
    ) -> Sequence["ChoiceAnswer"]:
        """Return up to `k` adapters to draw `prompt` with: one for each thing that it names."""
        from registry.api.schemas.fuse import ChoiceAnswer

        k, prompt = read_whole("k", k, 1, MOST_CHOSEN), read_text("prompt", prompt)
        base_model = read_text("base_model", base_model) or None
        asked = _given({"prompt": prompt, "k": k, "base_model": base_model}) | _rated(mature)
        return self.get("/v1/choose", asked, TypeAdapter(Sequence[ChoiceAnswer]))

    def status(self) -> "StatusAnswer":
        """Return what is there, what was refused, what waits, and who works."""
        from registry.api.schemas.service import StatusAnswer

        return self.get("/v1/status", {}, TypeAdapter(StatusAnswer))

    def runs(self, limit: int = 20, *, cursor: str | None = None) -> "RunListAnswer":
        """Return a page of refreshes, newest first."""
        from registry.api.schemas.service import RunListAnswer

        paging = Paging.read(limit, cursor, most=MOST_PAGE)
        asked = _given({"limit": paging.limit, "cursor": paging.cursor})
        return self.get("/v1/runs", asked, TypeAdapter(RunListAnswer))

    def nights(self, limit: int = 20, *, cursor: str | None = None) -> "NightListAnswer":
        """Return a page of nightly refreshes, newest first."""
        from registry.api.schemas.service import NightListAnswer

        paging = Paging.read(limit, cursor, most=MOST_PAGE)
        asked = _given({"limit": paging.limit, "cursor": paging.cursor})
        return self.get("/v1/nights", asked, TypeAdapter(NightListAnswer))

    def download(self, adapter_id: int, folder: Path | str = ".") -> Path:
        """Save an adapter's file in `folder` under its own name, and return its path.

        Raises:
            BlobMismatchError: what came is not what was announced. It is not kept.
            FileInTheWayError: another file has that name.
            FolderClosedError: nothing can be written there.
            FileTooLargeError: it is larger than files may be.
            NoRoomError: it would enter the reserve.
        """
        detail = self.show(adapter_id)
        name = own_name(detail.file_name, f"adapter-{adapter_id}")
        target = Path(folder, name)

        def write(file: IO[bytes]) -> None:
            self.receive_file(f"/v1/adapters/{adapter_id}/file", name, file, self._limits)

        save_whole(target, str(detail.file_sha256), write)
        return target

    def pack(self, recipe: "Recipe", target: Path | str) -> Path:
        """Save a zip of the files of a recipe's adapters, named as exports name them.

        Raises:
            FileInTheWayError: a file has that name.
            FolderClosedError: nothing can be written there.
            FileTooLargeError: it is larger than so many files may be.
            NoRoomError: it would enter the reserve.
        """

        most = MOST_IN_ZIP * self._limits.max_file_bytes
        limits = replace(self._limits, max_file_bytes=most)

        def receive_zip(file: IO[bytes]) -> None:
            asked = recipe.to_json().encode()
            with self.stream("POST", "/v1/recipes/files", content=asked) as answer:
                self.check(answer)
                receive(self.body(answer), str(target), file, limits)

        save_new(Path(target), receive_zip)
        return Path(target)

    def fuse(
        self,
        prompt: str,
        *,
        k: int = 3,
        adapters: Sequence[int] | None = None,
        strengths: Sequence[float | None] | None = None,
        base_model: str | None = None,
        mature: Maturity = "any",
        mode: "Mode | None" = None,
        check: bool = True,
        progress: "StepCallback | None" = None,
        **drawing: Unpack["DrawingOptions"],
    ) -> "FusedImage":
        """Have `prompt` drawn there with up to `k` adapters found for it, or those named by id.

        Who stops waiting gives it up.
        """
        asked = {
            "prompt": prompt,
            "k": k,
            "adapters": _named(adapters, strengths),
            "base_model": base_model,
            "mode": mode,
            "check": check,
            **_rated(mature),
            **_how(drawing),
        }
        return self._draw("/v1/fuse", json.dumps(encodable(_given(asked))).encode(), progress)

    def reproduce(self, recipe: "Recipe", progress: "StepCallback | None" = None) -> "FusedImage":
        """Have the image of a recipe drawn there again."""
        return self._draw("/v1/recipes/draw", recipe.to_json().encode(), progress)

    def grid(
        self,
        prompt: str,
        adapters: Sequence[int],
        *,
        strengths: Sequence[float | None] | None = None,
        base_model: str | None = None,
        mode: "Mode | None" = None,
        progress: "StepCallback | None" = None,
        **drawing: Unpack["DrawingOptions"],
    ) -> "Image":
        """Have every pair of `adapters` drawn there, and each of them alone, on one sheet."""
        asked: dict[str, Any] = {
            "kind": "grid",
            "prompt": prompt,
            "adapters": _named(adapters, strengths),
            "base_model": base_model,
            "mode": mode,
        }
        return self._sheet(asked | _how(drawing), progress)

    def compare(
        self,
        prompt: str,
        *,
        k: int = 3,
        adapters: Sequence[int] | None = None,
        strengths: Sequence[float | None] | None = None,
        base_model: str | None = None,
        mature: Maturity = "any",
        progress: "StepCallback | None" = None,
        **drawing: Unpack["DrawingOptions"],
    ) -> "Image":
        """Have the base alone, each adapter alone, and all by every way of fusing drawn there."""
        asked: dict[str, Any] = {
            "kind": "compare",
            "prompt": prompt,
            "k": k,
            "adapters": _named(adapters, strengths),
            "base_model": base_model,
        }
        return self._sheet(asked | _rated(mature) | _how(drawing), progress)

    def _sheet(self, asked: dict[str, Any], progress: "StepCallback | None") -> "Image":
        """Have a sheet drawn behind the answer; who stops waiting gives it up."""
        # Here, for it brings Pillow, which no other question needs.
        from registry.api.schemas.images import ImagesAnswer

        # A network that fails may have brought the request: it counts once.
        key = {"Idempotency-Key": uuid4().hex}
        begun = self._ask(
            "POST", "/v1/images", TypeAdapter(ImagesAnswer), json=_given(asked), headers=key
        ).items
        if len(begun) != 1:
            raise RemoteSenseError(self.url, f"{len(begun)} images, where it was asked for one")
        path = f"/v1/images/{begun[0].id}"
        try:
            self._wait(path, progress)
        except BaseException:
            # Any: Ctrl-C, most of the time. The server may be gone as well.
            with suppress(RemoteError):
                self.post(f"{path}/cancel", {}, b"", TypeAdapter(dict[str, Any]))
            raise
        return self._picture(f"{path}/png")

    def _wait(self, path: str, progress: "StepCallback | None") -> None:
        """Return when an image is drawn; raise what keeps it from that."""
        from registry.api.schemas.images import ImageAnswer

        shape: TypeAdapter[ImageAnswer] = TypeAdapter(ImageAnswer)
        while (image := self.get(path, {}, shape)).finished_at is None:
            if progress is not None and image.total:
                progress(image.done, image.total)
            time.sleep(LOOK_SECONDS)
        if image.problem is not None:
            self.refuse(str(image.problem.get("type")), str(image.problem.get("detail")))
        if image.state != "done":
            raise RemoteUnreachableError(self.url, "it stopped before the sheet was done")

    def _picture(self, path: str) -> "Image":
        from PIL import Image

        from crawler.broken_images import BROKEN_IMAGE

        data = io.BytesIO()
        with self.stream("GET", path) as answer:
            self.check(answer)
            for chunk in self.body(answer):
                if data.write(chunk) and data.tell() > MOST_LINE_BYTES:
                    raise RemoteSenseError(self.url, "an image that does not end")
        try:
            image = Image.open(data, formats=["PNG"])
            image.load()
        except BROKEN_IMAGE as error:
            raise RemoteSenseError(self.url, "no PNG where an image should be") from error
        return image

    def _draw(self, path: str, asked: bytes, progress: "StepCallback | None") -> "FusedImage":
        from registry.api.schemas.fuse import LINES, FuseEvent

        headers = {"Accept": LINES, "Content-Type": "application/json"}
        with self.stream("POST", path, content=asked, headers=headers) as answer:
            self.check(answer)
            for line in self._lines(answer):
                event = self.understand(line, TypeAdapter(FuseEvent))
                if event.event == "step" and progress is not None:
                    progress(event.done, event.total)
                if event.event == "error":
                    self.refuse(str(event.problem.get("type")), str(event.problem.get("detail")))
                if event.result is not None:
                    return self._image_of(event.result)
        raise RemoteUnreachableError(self.url, "it stopped before the image was done")

    def _lines(self, answer: "httpx.Response") -> Iterator[Any]:
        for line in self._byte_lines(answer):
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise RemoteSenseError(self.url, "lines that are not JSON") from error

    def _byte_lines(self, answer: "httpx.Response") -> Iterator[bytes]:
        """Yield lines; httpx would keep one that does not end in memory, however long."""
        begun = bytearray()
        for chunk in self.body(answer):
            first, *others = chunk.split(b"\n")
            begun += first
            for part in others:
                yield bytes(begun)
                begun = bytearray(part)
            if len(begun) > MOST_LINE_BYTES:
                raise RemoteSenseError(self.url, "a line that does not end")
        if begun:
            yield bytes(begun)

    def _image_of(self, answer: "FuseAnswer") -> "FusedImage":
        """Return an image as if it had been drawn here, but for its maps."""
        from PIL import Image

        from registry.fusion.errors import RecipeError
        from registry.fusion.fused_image import FusedImage
        from registry.fusion.recipe import recipe_in_png

        try:
            png = base64.b64decode(answer.image.partition(",")[2], validate=True)
            recipe = recipe_in_png(png, "its image")
        except (binascii.Error, RecipeError) as error:
            raise RemoteSenseError(self.url, str(error)) from error
        image = Image.open(io.BytesIO(png), formats=["PNG"])
        image.load()
        activity = {each.sha256: each.layers for each in answer.activity if each.layers}
        return FusedImage(image, recipe, activity)


def _named(
    adapters: Sequence[int] | None, strengths: Sequence[float | None] | None
) -> Sequence[dict[str, Any]] | None:
    """Return adapters with their strengths; None leaves that to each adapter.

    None where none is named: they are chosen for the prompt.

    Raises:
        StrengthsError: there is not one for each.
    """
    named = 0 if adapters is None else len(adapters)
    if strengths is not None and len(strengths) != named:
        raise StrengthsError(len(strengths), named)
    if adapters is None:
        return None
    strengths = [None] * named if strengths is None else strengths
    return [{"id": id_, "strength": given} for id_, given in zip(adapters, strengths, strict=True)]


def _how(drawing: "DrawingOptions") -> dict[str, Any]:
    """Return how to draw in the words of the API."""
    # Who only searches does without.
    from registry.fusion.options import size_of

    words: dict[str, Any] = {"size": None, "negative": None, **drawing}
    size, negative = words.pop("size"), words.pop("negative")
    width, height = size_of(size) or (None, None)
    return {"width": width, "height": height, "negative_prompt": negative, **words}


def _filters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return filters as the API takes them: texts in lists, and sizes and moments in words."""
    words: dict[str, Any] = {}
    for name, value in read_filters(options).items():
        is_said = name in IN_WORDS
        words[name] = list(value) if isinstance(value, tuple) else str(value) if is_said else value
    return words


def _rated(mature: Maturity) -> dict[str, Maturity]:
    """Return the filter in the words of the API; "any" asks for nothing."""
    mature = check_choice("mature", mature, MATURITIES)
    return {} if mature == "any" else {"mature": mature}


def _is_long(asked: Mapping[str, Any]) -> bool:
    """Whether what is asked for is more than an address holds."""
    query = urlencode(encodable(asked), doseq=True)
    return len(query) > MOST_QUERY_BYTES or query.count("&") >= MOST_PARAMETERS


def _given(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked for; None asks for nothing."""
    return {name: value for name, value in asked.items() if value is not None}
