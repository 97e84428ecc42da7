"""Whether a weight encoder may serve: what it was measured at, against thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What an encoder must reach on the validation adapters of its training.

    On the miniature world a random order has an MRR of .045, AutoLoRA's own encoder .25 and
    the shipped one .7: below three times chance weights are noise beside captions. An
    interval of 95 % over 120 adapters is about .06 wide to each side, so a loss of .02 is
    nothing that could be told from none.
    """

    times_chance: float = 3.0
    most_loss: float = 0.02


DEFAULT_THRESHOLDS = Thresholds()


def unmet_thresholds(
    metrics: Mapping[str, Any],
    active: Mapping[str, Any] | None,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
) -> list[str]:
    """Return what speaks against promoting an encoder, in words; nothing if it may serve.

    `active` are the metrics of the encoder it would replace, if there is one.
    """
    mrr, gallery = _validation(metrics)
    if mrr is None or gallery is None:
        return ["its checkpoint does not say what MRR it has on how many validation adapters"]
    unmet = []
    floor = thresholds.times_chance * chance_mrr(gallery)
    if mrr < floor:
        unmet.append(
            f"its validation MRR is {mrr:.3f}; {thresholds.times_chance:g} times that of a "
            f"random order of {gallery} adapters is {floor:.3f}"
        )
    if active is None:
        return unmet
    old_mrr, _ = _validation(active)
    if old_mrr is None or _split(active) != _split(metrics):
        unmet.append("it was validated on other adapters than the active one: not comparable")
    elif mrr < old_mrr - thresholds.most_loss:
        unmet.append(
            f"its validation MRR is {mrr:.3f}, the active one's {old_mrr:.3f}: "
            f"a loss of more than {thresholds.most_loss:g}"
        )
    return unmet


def chance_mrr(gallery: int) -> float:
    """Return the MRR of a random order of `gallery` adapters, one of them relevant."""
    return sum(1 / place for place in range(1, gallery + 1)) / gallery


def _validation(metrics: Mapping[str, Any]) -> tuple[float | None, int | None]:
    """Return the MRR and the number of validation adapters."""
    mrr = _at(metrics, "validation", "mrr")
    gallery = _at(metrics, "adapters", "validation")
    sound = isinstance(mrr, int | float) and isinstance(gallery, int) and gallery > 0
    return (float(mrr), gallery) if sound else (None, None)


def _split(metrics: Mapping[str, Any]) -> Any:
    """What tells splits apart: their name if there is one, else how many were validated on."""
    return metrics.get("split") or _at(metrics, "adapters", "validation")


def _at(metrics: Mapping[str, Any], *keys: str) -> Any:
    value: Any = metrics
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
