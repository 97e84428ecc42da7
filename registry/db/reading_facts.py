"""What a file is read with and as. No database here: processes that only read load this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from encoder.base_models.matching import Claim


class Beside(NamedTuple):
    """What is known of a file beside its bytes: of all adapters that it is of."""

    claims: tuple[Claim, ...]
    peft_config: str


NOTHING = Beside((), "")


class SketchData(NamedTuple):
    version: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file was read as, or why it is refused."""

    sha256: str
    beside: Beside  # what was known of it besides its bytes
    columns: Mapping[str, Any]  # of `files`
    # One of each version that files of its family are sketched in.
    sketches: Sequence[SketchData] = ()
    refusal: str = ""  # for people
