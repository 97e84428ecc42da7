"""Whether results that are called .7 probable are right in seven of ten cases, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

ENCODERS = {"real": "with the encoder", "none": "without an encoder", "foreign": "another world's"}


def draw_reliability(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the share of right results over the probability shown, a line for each situation."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(ENCODERS), figsize=(13, 4.4), sharey=True)
    for panel, (encoding, title) in zip(panels, ENCODERS.items(), strict=True):
        panel.plot([0, 1], [0, 1], color="0.8", zorder=0)
        for row in rows:
            if row["encoder"] != encoding:
                continue
            said, true = zip(*[own[1:] for own in row["bins"].values()], strict=True)
            sizes = [12 + 400 * own[0] ** 0.5 * 0.3 for own in row["bins"].values()]
            label = f"{row['metadata']}, {row['languages']}"
            [line] = panel.plot(said, true, linewidth=1)
            panel.scatter(said, true, s=sizes, color=line.get_color(), alpha=0.6, label=label)
        panel.set(title=title, xlabel="probability shown", xlim=(0, 1), ylim=(0, 1))
        # Below the panel: inside, it would lie over the lines.
        panel.legend(fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    panels[0].set_ylabel("share that is right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
