"""Choosing the adapters to draw an image with: those that suit a prompt, or that it calls for."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from sqlalchemy.orm import Session

from encoder.base_models.facts import bases_for, related_base_models
from encoder.text_encoder import TextEncoder
from registry.retrieval.candidates import find_candidates
from registry.retrieval.cards import AdapterCard, count_by_base_model, load_cards
from registry.retrieval.encoder_spaces import Space
from registry.retrieval.errors import (
    CalledAdapterError,
    NothingFoundError,
    NothingIndexedError,
    UnknownBaseModelError,
)
from registry.retrieval.filters import Filters, base_models_meant, known_name, known_names
from registry.retrieval.known_values import check_filters
from registry.retrieval.named import find_named
from registry.retrieval.results import Choice
from registry.retrieval.selection import choose
from registry.retrieval.serving_encoders import ServingEncoders
from registry.retrieval.vector import weight_embeddings
from registry.text.pasted_prompts import PastedPrompt
from registry.text.prompt_phrases import texts_of
from registry.text.trigger_words import missing_triggers

# Similarities of an adapter's weights to each part of a prompt, and their embedding.
Nearness = tuple[tuple[float, ...] | None, tuple[float, ...] | None]


class Chooser:
    """Chooses adapters within sessions that it is given. Safe to share between threads.

    `base_models` are those that images can be made with here.
    """

    def __init__(
        self, base_models: Collection[str], encoders: ServingEncoders, text_encoder: TextEncoder
    ) -> None:
        self._drawable = base_models
        self._encoders = encoders
        self._text_encoder = text_encoder

    def choose(
        self, session: Session, prompt: PastedPrompt, k: int, filters: Filters
    ) -> list[Choice]:
        """Return up to `k` adapters, one for each thing that `prompt` names.

        `registry.retrieval.selection` says how. All are for one base model: the first of
        `filters`, or the default.

        Raises:
            NothingFoundError: there is none.
        """
        base_model = self.base_model(session, next(iter(filters.base_models), None))
        check_filters(session, filters)
        # A sibling's adapters can be loaded, and seldom do good.
        drawn = related_base_models(known_name(base_model), siblings=False)
        filters = replace(filters, base_models=drawn, variants=False)
        space = Space(self._encoders.find(session, base_model)[0], drawn)
        candidates = find_candidates(
            session, prompt.plain_words, filters, self._text_encoder, space
        )
        chosen = choose(candidates, k)
        if not chosen:
            raise NothingFoundError(prompt.text, filters.base_models[0])
        cards = load_cards(session, [candidate.adapter_id for candidate in chosen])
        nearness = self._nearness(session, prompt.text, list(cards.values()))
        return [
            Choice(
                cards[candidate.adapter_id],
                *nearness[candidate.adapter_id],
                candidate.span.text,
            )
            for candidate in chosen
        ]

    def called(
        self, session: Session, prompt: PastedPrompt, k: int, filters: Filters
    ) -> list[Choice]:
        """Return the first `k` adapters that a prompt calls for, at the strengths that it says.

        Raises:
            CalledAdapterError: one of them is not here.
        """
        check_filters(session, filters)
        cards: dict[int, AdapterCard] = {}
        names: dict[int, str] = {}
        for named in prompt.called[:k]:
            match = next(iter(find_named(session, [named], filters)), None)
            if match is None:
                raise CalledAdapterError(named.name)
            for id_, card in load_cards(session, [match.adapter_id]).items():
                strength = card.strength if named.strength is None else named.strength
                cards[id_], names[id_] = replace(card, strength=strength), named.name
        nearness = self._nearness(session, prompt.without_calls, list(cards.values()))
        return [Choice(card, *nearness[id_], names[id_]) for id_, card in cards.items()]

    def named(self, session: Session, prompt: str, cards: Sequence[AdapterCard]) -> list[Choice]:
        """Return adapters as if they had been chosen for `prompt`."""
        nearness = self._nearness(session, prompt, cards)
        return [Choice(card, *nearness[card.id]) for card in cards]

    def base_model(self, session: Session, asked: str | None) -> str:
        """Return `asked` if it has adapters; else the default.

        The default is what most adapters are for, among those that images can be made
        with here (REGISTRY_BASE_MODELS), if there are any; where `asked` may mean several, that of
        those.

        Raises:
            NothingIndexedError: there is no adapter.
            UnknownBaseModelError: there is none for `asked`.
        """
        known = list(count_by_base_model(session))
        if not known:
            raise NothingIndexedError
        possible = known
        if asked is not None:
            meant = base_models_meant(asked)
            possible = [name for name in known if name in meant]
            if not possible:
                raise UnknownBaseModelError(asked, known)
            if len(names := known_names(asked)) == 1:
                return names[0]
        return (bases_for(possible, self._drawable) or possible)[0]

    def _nearness(
        self, session: Session, prompt: str, cards: Sequence[AdapterCard]
    ) -> dict[int, Nearness]:
        """Return by id how similar an adapter's weights are to each part of `prompt`, the whole
        first, and their embedding.

        The trigger words that fusing adds are parts too: adapters that are named are wanted.
        By the active encoder of each one's base model; None where it does not know them.
        """
        nearness: dict[int, Nearness] = {card.id: (None, None) for card in cards}
        added = [word for words in missing_triggers(prompt, cards) for word in words]
        embeddings = self._text_encoder.encode([*texts_of(prompt), *added])
        for base_model in dict.fromkeys(card.base_model for card in cards):
            encoder, _ = self._encoders.find(session, base_model)
            if encoder is None:
                continue
            queries = encoder.loaded.encode_query(embeddings)
            ids = [card.id for card in cards if card.base_model == base_model]
            stored = weight_embeddings(session, encoder=encoder.name, adapter_ids=ids)
            for id_, weights in stored.items():
                # Stored in half precision, so that the length is not quite 1.
                similarities = queries @ weights / np.linalg.norm(weights)
                nearness[id_] = (tuple(similarities.tolist()), tuple(weights.tolist()))
        return nearness
