"""What can go wrong in a search."""

from registry.errors import RegistryError


class SearchError(RegistryError):
    """A question cannot be answered as asked."""


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
        super().__init__(f"cannot search by this: {cause}. Give a PNG, JPEG, WebP or GIF.")


class QueryTooLongError(SearchError):
    """A text is no question any more."""

    def __init__(self, length: int, most: int) -> None:
        super().__init__(f"the query has {length:,} characters; at most {most:,} are searched for.")


class UnknownBaseModelError(SearchError):
    """No adapter of this base model is ready."""

    def __init__(self, base_model: str, known: list[str]) -> None:
        choice = f"Ready are: {', '.join(known)}." if known else "Nothing is indexed yet."
        super().__init__(f"there is no adapter for base model {base_model!r}. {choice}")


class NothingIndexedError(SearchError):
    """The index is empty."""

    def __init__(self) -> None:
        super().__init__("nothing is indexed yet; run `autolora refresh` to crawl a hub.")


class NothingFoundError(SearchError):
    """No adapter suits a prompt."""

    def __init__(self, prompt: str, base_model: str) -> None:
        super().__init__(
            f"no adapter for {base_model} suits {prompt!r}; use other words, or name adapters."
        )
