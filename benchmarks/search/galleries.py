"""Adapters to learn the ranking on: many, and as an encoder sees those it was not trained on.

Validation adapters are few. So training adapters take part too: each fold of them, with the
validation adapters, is a gallery of about as many as are judged, embedded by an encoder that
was trained on the other folds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from demo.concepts import Concept, plan
from demo.more import more_concepts
from demo.paths import BUILD
from demo.relevance import unseen_encoders
from demo.train_encoder import add_more, load_dataset
from encoder.arrays import Floats
from encoder.text_encoder import TextEncoder, load_text_encoder
from encoder.training.train import encode_captions, sketch_files
from encoder.weight_encoders.checkpoint import WeightEncoder, load_encoder
from registry.text.cached_encoder import CachedTextEncoder

# Every caption in both languages is asked for many times.
TEXTS = 20_000


@dataclass(frozen=True)
class Gallery:
    """Adapters with their embeddings by one encoder, which saw none of them; in parallel."""

    concepts: Sequence[Concept]
    embeddings: Floats  # (adapters, dim)
    encoder: WeightEncoder
    text_encoder: TextEncoder
    # By place, others that do what an adapter does, and so are not wrong where it is asked for.
    also: Mapping[int, Sequence[int]] = field(default_factory=dict)


def load_galleries(checkpoint: Path) -> list[Gallery]:
    """Embed training and validation adapters by encoders trained like `checkpoint`."""
    dataset = add_more(load_dataset(BUILD / "zoo"), BUILD / "more/manifest.json")
    encoder = load_encoder(checkpoint)
    text_encoder = CachedTextEncoder(load_text_encoder(encoder.text_encoder), TEXTS)
    concepts = _concepts()
    train = dataset.indices("train")
    validation = dataset.indices("validation")
    sketches = {i: sketch_files([dataset.paths[i]])[0] for i in [*train, *validation]}
    captions = encode_captions([dataset.captions[i] for i in train], text_encoder)
    galleries = []
    for other, left in unseen_encoders(encoder, [sketches[i] for i in train], captions):
        own = [*(train[k] for k in left), *validation]
        embeddings = other.encode([sketches[i] for i in own])
        galleries.append(Gallery([concepts[i] for i in own], embeddings, other, text_encoder))
    return galleries


def _concepts() -> list[Concept]:
    """What every adapter is about, in the order of `add_more`."""
    planned = plan()
    known = {concept.key: concept for concept in planned.concepts}
    known |= {concept.key: concept for concept in more_concepts(planned)}
    zoo = json.loads((BUILD / "zoo/listing.json").read_text())
    more = json.loads((BUILD / "more/manifest.json").read_text())
    keys = [*(entry["_key"] for entry in zoo), *(entry["key"] for entry in more)]
    return [known[key] for key in keys]
