"""What of the training sets is hidden from the base, so that adapters have something to teach.

Both rules hash the words, so they hold whatever sets are added or left out.
"""

import numpy as np
import numpy.typing as npt

from demo.world.art import Art, stable_hash
from demo.world.sources import load_looks

# One picture in so many is seen by nothing: what fusion should draw is judged on them.
WITHHELD_EVERY = 25
# One name in so many is unknown to the base: adapters bring the thing.
UNKNOWN_EVERY = 16


def is_withheld(style: str, label: str) -> bool:
    return stable_hash("withheld", style, label) % WITHHELD_EVERY == 0


def is_unknown(label: str) -> bool:
    return stable_hash("unknown", label) % UNKNOWN_EVERY == 0


def base_pictures(art: Art) -> npt.NDArray[np.int64]:
    """List the pictures that the base and its autoencoder are trained on."""
    looks = load_looks()
    labels = [str(entry["label"]) for entry in art.names]
    unknown = [is_unknown(label) for label in labels]
    return np.array(
        [
            place
            for place, (look, name) in enumerate(
                zip(art.look.tolist(), art.name.tolist(), strict=True)
            )
            if looks[look].split == "train"
            and not unknown[name]
            and not is_withheld(looks[look].style, labels[name])
        ]
    )
