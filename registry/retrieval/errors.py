"""What can go wrong in a search."""

from collections.abc import Sequence

from registry.errors import RegistryError


class SearchError(RegistryError):
    """A question cannot be answered as asked.

    `at_fault` are the filters without which it might be, each with the value that is wrong.
    """

    at_fault: Sequence[tuple[str, str | None]] = ()


class EmbeddingDimensionError(SearchError):
    """An embedding does not fit the column it is compared with."""

    def __init__(self, got: int, expected: int) -> None:
        super().__init__(
            f"the query's embedding has {got} dimensions; the index stores {expected}. "
            "Set REGISTRY_TEXT_ENCODER to the text encoder the index was made with."
        )


class EmptyQueryError(SearchError):
    """There is nothing to search for."""

    def __init__(self) -> None:
        super().__init__("the query is empty; describe what the images should look like.")


class LikenessError(SearchError):
    """A question adds and subtracts adapters in a way that cannot be answered."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"cannot search like this: {cause}. Give a text or up to 10 adapters that results "
            "should be like, and up to 10 others that they should be unlike."
        )


class PictureError(SearchError):
    """What was given to search by is no picture, or none that can be read."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"cannot search by this: {cause}. Give a whole PNG, JPEG, WebP or GIF, of at most "
            "40 million pixels and 32 MB."
        )


class QueryTooLongError(SearchError):
    """A text is no question any more."""

    def __init__(self, length: int, most: int) -> None:
        super().__init__(f"the query has {length:,} characters; at most {most:,} are searched for.")


class UnknownBaseModelError(SearchError):
    """No adapter of this base model is ready."""

    def __init__(self, base_model: str, known: list[str]) -> None:
        choice = f"Ready are: {', '.join(known)}." if known else "Nothing is indexed yet."
        super().__init__(f"there is no adapter for base model {base_model!r}. {choice}")
        self.at_fault = [("base_model", base_model)]


class FilterError(SearchError):
    """A filter cannot be read, or does not go with what is listed."""

    def __init__(self, message: str, *names: str) -> None:
        super().__init__(message)
        self.at_fault = [(name, None) for name in names]


class UnknownFilterValueError(SearchError):
    """A filter asks for a value that no adapter has."""

    def __init__(self, filter_name: str, value: str, known: Sequence[str], *, more: bool) -> None:
        there = f"There are{', among others' if more else ''}: {', '.join(known)}."
        super().__init__(
            f"no adapter has the {filter_name} {value!r}. {there if known else 'None has any.'}"
        )
        self.at_fault = [(filter_name, value)]


class CursorError(SearchError):
    """A cursor was not made here."""

    def __init__(self) -> None:
        super().__init__("this cursor is none of ours; use the `next` of a page, or none.")


class OtherQuestionError(CursorError):
    """A cursor is of another question, or of other filters or another order."""

    def __init__(self) -> None:
        SearchError.__init__(
            self,
            "this cursor is of another question; ask with the text, filters and order that the "
            "page before was asked with, or without a cursor.",
        )


class NothingIndexedError(SearchError):
    """The index is empty."""

    def __init__(self) -> None:
        super().__init__(
            "nothing is indexed yet; run `autolora refresh` to crawl a hub, or `autolora refresh "
            "--source FOLDER` for files of your own."
        )


class CalledAdapterError(SearchError):
    """A prompt calls for an adapter that is not here."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the prompt calls for <lora:{name}>, and no adapter here is called so; take it out "
            "of the prompt, or write the name of a file that is here."
        )


class NothingFoundError(SearchError):
    """No adapter suits a prompt."""

    def __init__(self, prompt: str, base_model: str) -> None:
        super().__init__(
            f"no adapter for {base_model} suits {prompt!r}; use other words, or name adapters."
        )
