"""Measure AutoLoRA's encoder and W2T, trained on all adapters that the shipped encoder met.

Among these are those that nothing but its belief in its voices was learned from: here the networks
learn from them as from the others.
"""

from pathlib import Path

import numpy as np
import torch

from benchmarks.results import RESULTS, write_results
from benchmarks.wide.networks import train_rivals
from benchmarks.wide.ruler import Ruler
from benchmarks.wide.shipped import arguments_of
from benchmarks.wide.tables import encoders_table
from benchmarks.wide.zoo import Outside, WideZoo


def main() -> None:
    parser = arguments_of(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")
    parser.add_argument("--output", type=Path, default=RESULTS / "wide_rivals.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    zoo = WideZoo.load(options.zoo, beliefs=True)
    train = np.concatenate([zoo.indices("train"), zoo.indices("beliefs")])
    asked = zoo.indices(options.split, options.first_group)
    ruler = Ruler(Outside.load(options.zoo, options.split, options.first_group), asked)
    encoders = []
    for name, space in train_rivals(zoo, train, options.seeds):
        encoders.append({"name": name, **ruler.describe(space)})
        results = {"split": options.split, "adapters": len(train), "encoders": encoders}
        write_results(options.output, results, encoders_table(encoders))


if __name__ == "__main__":
    main()
