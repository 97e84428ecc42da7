"""What a step of a refresh is, and what it works with. `registry.refresh.pipeline` has the list."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from crawler.records import Source
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.adapters import Origin
from registry.db.holds import hold
from registry.fusion.options import StepCallback
from registry.fusion.studio import Studio


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step did for one adapter; when not `ok`, `message` says what and what to do."""

    adapter: str
    ok: bool = True
    message: str = ""
    # What came from the hub for it, of its file.
    fetched_bytes: int = 0
    # Whether it is the fault of a setting and of no adapter: a person has to mend that, and the
    # run fails.
    of_setting: bool = False


@dataclass(frozen=True, slots=True)
class RefreshContext:
    """What the steps of one refresh work with."""

    sessions: sessionmaker[Session]
    blobs: BlobStore
    text_encoder: TextEncoder
    # Partial files are kept here, to be resumed.
    downloads: Path
    # A weight encoder's checkpoint, or a folder of them, that is to serve.
    checkpoint: Path | None
    # What differs between machines beside these.
    settings: Settings
    source: Source
    # What covers are drawn with.
    studio: Studio
    # Is told of every step of a cover, and may end the refresh there.
    cover_progress: StepCallback | None
    # An image encoder's folder, if covers are to be embedded.
    image_encoder: Path | None
    # The report's row; what is listed bears its number.
    run_id: int
    # Whether everything is listed, and what has vanished is marked as gone.
    full: bool
    # Whether that is done however much has vanished at once.
    force: bool

    @property
    def origin(self) -> Origin:
        return Origin(self.source.hub, self.source.endpoint)

    @property
    def engine(self) -> Engine:
        engine: Engine = self.sessions.kw["bind"]
        return engine


class Step(ABC):
    """Does what is missing, and commits adapter by adapter or batch by batch.

    So it can be killed anywhere and run again. Its methods are generators: nothing is done
    unless they are iterated.
    """

    # Its name in reports and for programs.
    name: ClassVar[str]
    # Its name for people, beside a bar.
    title: ClassVar[str]
    # Whether it needs the hub; the others work on what is here.
    asks_hub: ClassVar[bool] = False

    def __init__(self, context: RefreshContext) -> None:
        self.context = context

    @classmethod
    def is_wanted(cls, context: RefreshContext) -> bool:
        """Whether a refresh has this step at all."""
        return True

    @property
    def skipped(self) -> str:
        """Say in one line why most of it is skipped, and how to have it done; "" if it is not."""
        return ""

    def prepare(self) -> Iterator[StepOutcome]:
        """Do what has to be done before the first step of the refresh; yield problems only."""
        return iter(())

    def get_ready(self, count: int) -> None:
        """Get ready for so many tasks or less: a step before this one is about to be done."""
        return

    def close(self) -> None:
        """Give back what it opened; it is not used any more."""
        return

    @abstractmethod
    def remaining(self) -> int | None:
        """Return how many adapters, files or captions there are to do; None if only a hub knows."""

    @abstractmethod
    def run(self) -> Iterator[StepOutcome]:
        """Do them; yield one outcome for each.

        Raises:
            SourceError: the hub does not answer; the other steps go on.
            DiskError, DatabaseLostError: nothing more can be stored.
        """


class SharedStep(Step):
    """A step of many small tasks, each told by its key, which workers can take off its hands.

    Whoever does a task holds its key meanwhile, and does only what is still to do: the same task
    may be given to several, and is done once.
    """

    # Workers name the queues that they take tasks from.
    queue: ClassVar[str]
    # How many tasks are done together here, and how many a worker is given at once.
    page: ClassVar[int]
    job: ClassVar[int]

    @abstractmethod
    def list_keys(self, size: int) -> Iterator[list[str]]:
        """Yield the keys of what is to do, up to `size` at a time."""

    @abstractmethod
    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        """Do what is still to do of `keys`; yield an outcome for each that was."""

    def finish(self) -> Iterator[StepOutcome]:
        """Do what comes after the last task; yield problems only."""
        return iter(())

    def do_alone(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        """Do those of `keys` that nobody else is at."""
        with hold(self.context.engine, self.name, keys) as mine:
            if mine:
                yield from self.do(mine)

    def run(self) -> Iterator[StepOutcome]:
        for keys in self.list_keys(self.page):
            yield from self.do_alone(keys)
        yield from self.finish()
