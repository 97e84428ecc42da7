"""The registry as one object: what the CLI, the API, the page and `registry.fuse` share."""

import shutil
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from crawler.disk import nearest_folder
from registry.administration import Administration
from registry.db.index_facts import IndexFacts, load_index_facts
from registry.db.nights import NightFacts, is_made_up_for, is_over, list_nights
from registry.db.runs import RunFacts, get_run, list_runs
from registry.db.session import now
from registry.db.status import Status, load_status
from registry.errors import RegistryError
from registry.image_service import ImageService
from registry.refresh.due import next_due
from registry.retrieval.given_values import Paging
from registry.text.translations import translations
from registry.text.word_segmentation import segment
from registry.upkeep.readiness import check_ready

# What only some callers need is loaded when they ask: a search on the command line waits for it.
if TYPE_CHECKING:
    from registry.own_folders import OwnFolders


class Registry(ImageService, Administration):
    """Search and fusion over one database and one blob store.

    What is asked of adapters is in `SearchService`, what is drawn in `ImageService`; here is how
    the registry itself does. Nothing is opened before it is needed, and torch is not imported
    before an image is made.
    """

    def warm_up(self) -> None:
        """Open and load what the first search would otherwise wait for."""
        self.base_models()
        self.text_encoder.encode(["warm"])
        segment("预热")
        translations("预热")
        # With it come the encoders, the words of their concepts, for it says what and how, and what
        # texts are strangers to each other. Who searches is told what is amiss; a server starts all
        # the same.
        with suppress(RegistryError):
            self.search("狐狸：黑色剪影", paging=Paging(limit=1))

    def runs(self, *, before_id: int | None = None, limit: int = 20) -> list[RunFacts]:
        with self.transaction() as session:
            return list_runs(session, before_id=before_id, limit=limit)

    def run(self, run_id: int) -> RunFacts:
        with self.transaction() as session:
            return get_run(session, run_id)

    def nights(self, *, before_id: int | None = None, limit: int = 20) -> list[NightFacts]:
        with self.transaction() as session:
            return list_nights(session, before_id=before_id, limit=limit)

    def is_night_over(self, due_at: datetime, *, is_missed: bool = False) -> bool:
        """Whether the night that was due at a moment needs nobody any more.

        One that is missed, since nobody looked at that moment, is made up for by one near it.
        """
        with self.transaction() as session:
            return is_made_up_for(session, due_at) if is_missed else is_over(session, due_at)

    def next_night(self) -> datetime | None:
        """Return when the next night is due; None where none is, as far as the settings say."""
        at = self.settings.nightly_at
        return None if at is None else next_due(at, datetime.now(UTC))

    def status(self) -> Status:
        """Return what is here, what was refused, what waits, and who works."""
        from registry.refresh.captioning import wanted_captions

        with self.transaction() as session:
            wanted = wanted_captions(self.settings, now(session))
            disk = shutil.disk_usage(nearest_folder(self.blobs.root))
            return load_status(session, self.text_encoder.name, wanted, (disk.free, disk.total))

    def check_ready(self) -> None:
        """Raise NotReadyError where the schema or an encoder is not what search needs."""
        with self.transaction() as session:
            check_ready(session, self.blobs)

    def index_facts(self) -> IndexFacts:
        """Return the index in a few numbers, for those who watch it."""
        with self.transaction() as session:
            return load_index_facts(session)

    @property
    def folders(self) -> "OwnFolders":
        """One's own folders, that are watched."""
        from registry.own_folders import OwnFolders

        studio = self.maker.studio
        return OwnFolders(self.sessions, self.blobs, self.settings, self.text_encoder, studio)
