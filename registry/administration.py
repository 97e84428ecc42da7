"""What is for those who run a registry: over HTTP it takes a token of the scope `admin`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from encoder.training.progress import Progress, silent
from registry.db.claims import store_claim
from registry.db.encoder_removals import remove_encoder
from registry.db.favourites import (
    FavouriteFacts,
    list_favourites,
    remove_favourite,
    store_favourite,
)
from registry.db.log_ins import Opened, find_by_log_in, find_by_token, log_in, log_out
from registry.db.pending import PendingFile
from registry.db.promotion import promote, roll_back
from registry.db.removals import remove_adapter, take_back
from registry.db.session import one_line_errors
from registry.db.tokens import TokenFacts, create_token, list_tokens, revoke_token
from registry.open_registry import OpenRegistry
from registry.retrieval.cards import AdapterCard, load_cards
from registry.retrieval.details import AdapterDetail, get_detail
from registry.token_scopes import TokenScope

if TYPE_CHECKING:
    from registry.refresh.learn import Lesson


class Administration(OpenRegistry):
    """Says what adapters are for, which are liked or gone, who may come in, and what encodes."""

    # Adapters

    def claim(
        self, adapter_id: int, base_model: str | None, who: str = "somebody"
    ) -> AdapterDetail:
        """Say what an adapter is for, None to take that back; its file is read again with it.

        What its layers rule out is noted and not believed; the answer's verdict tells.

        Raises:
            AdapterNotFoundError: there is none of this id.
            UnknownClaimError: nothing known here is called so.
        """
        from registry.refresh.reading import reader_version
        from registry.refresh.steps.read import read_stored

        with self.transaction() as session:
            sha256 = store_claim(session, adapter_id, base_model, who)
        if sha256 is not None and self.blobs.exists(sha256):
            file = PendingFile(sha256, f"adapter {adapter_id}")
            with one_line_errors():
                read_stored(self.sessions, self.blobs, [file], reader_version())
        with self.transaction() as session:
            return get_detail(session, adapter_id)

    def favourites(
        self, *, before_id: int | None = None, limit: int = 20
    ) -> list[tuple[FavouriteFacts, AdapterCard]]:
        """Return favourites, the last marked first."""
        with self.transaction() as session:
            found = list_favourites(session, before_id=before_id, limit=limit)
            cards = load_cards(session, [favourite.adapter_id for favourite in found])
        return [(favourite, cards[favourite.adapter_id]) for favourite in found]

    def mark_favourite(
        self, adapter_id: int, note: str | None = None
    ) -> tuple[FavouriteFacts, AdapterCard]:
        """Mark an adapter, or raise AdapterNotFoundError; without a note the one it has stays."""
        with self.transaction() as session:
            favourite = store_favourite(session, adapter_id, note)
            return favourite, load_cards(session, [adapter_id])[adapter_id]

    def unmark_favourite(self, adapter_id: int) -> None:
        with self.transaction() as session:
            remove_favourite(session, adapter_id)

    def remove(self, adapter_id: int) -> str:
        """Take an adapter out of search for good; return its name. See `take_back`.

        Raises AdapterNotFoundError when there is none of this id.
        """
        with self.transaction() as session:
            return remove_adapter(session, adapter_id)

    def take_back(self, adapter_id: int) -> str:
        """Let the next refresh publish an adapter again that was taken out; return its name.

        Raises AdapterNotFoundError or NotRemovedError where there is no such one.
        """
        with self.transaction() as session:
            return take_back(session, adapter_id)

    # Tokens and log-ins

    def create_token(self, name: str, scopes: Sequence[TokenScope]) -> str:
        """Return a token that opens what `scopes` say; it cannot be had again.

        Raises TokenNameError where the name has nothing that can be seen.
        """
        with self.transaction() as session:
            return create_token(session, name, scopes)

    def tokens(self) -> list[TokenFacts]:
        with self.transaction() as session:
            return list_tokens(session)

    def revoke_token(self, token_id: int) -> None:
        """Let a token open nothing from now on, or raise TokenNotFoundError."""
        with self.transaction() as session:
            revoke_token(session, token_id)

    def opened_by(self, *, token: str = "", log_in: str = "") -> Opened | None:
        """Return what a token opens, or else a log-in; None where it is nothing."""
        with self.transaction() as session:
            return find_by_token(session, token) if token else find_by_log_in(session, log_in)

    def log_in(self, token: str) -> str | None:
        """Return a browser's secret that opens what a token does; None where that is nothing."""
        with self.transaction() as session:
            return log_in(session, token)

    def log_out(self, secret: str) -> None:
        """Let a browser's secret open nothing from now on."""
        with self.transaction() as session:
            log_out(session, secret)

    # Encoders

    def remove_encoder(self, name: str, *, force: bool = False) -> int:
        """Remove an encoder that does not serve; return how many embeddings went with it.

        Raises:
            EncoderNotFoundError: there is none of this name.
            EncoderInUseError: it is active, or a rollback would bring it back and not `force`.
        """
        with self.transaction() as session:
            return remove_encoder(session, name, force=force)

    def promote(self, name: str, *, reason: str | None = None) -> str:
        """Let search use an encoder; return its base model. `reason` overrides thresholds.

        Raises:
            PromotionError: it is not back-filled, or not good enough.
        """
        with self.transaction() as session:
            encoder = promote(session, name, reason=reason)
            encoder.calibration = self.finder.calibrate(session, encoder)
            return encoder.base_model

    def roll_back(self, base_model: str) -> str | None:
        """Let search use the encoder again that the active one replaced; return its name.

        None where it replaced none: then weights are compared no more.
        """
        with self.transaction() as session:
            encoder = roll_back(session, base_model)
            if encoder is None:
                return None
            encoder.calibration = self.finder.calibrate(session, encoder)
            return encoder.name

    def learn(
        self, base_model: str, progress: Progress = silent, *, new_basis: bool = False
    ) -> "Lesson":
        """Train an encoder on what is here, and let it serve where it finds more for certain.

        With `new_basis` the inputs that sketches are made in are learned before, from the files
        that are kept.

        Raises:
            NotEnoughToLearnError: too few captioned adapters, or authors.
        """
        from registry.refresh.learn import Learner
        from registry.retrieval.filters import known_name

        learner = Learner(
            self.sessions, self.blobs, self.text_encoder, self.settings.home / "learning"
        )
        with one_line_errors():
            return learner.learn(known_name(base_model), progress, anew=new_basis)
