"""Write the layers of all base models from the configs in their files.

`python -m encoder.base_models` builds each network without weights, and writes layers/. To be
run after a base model's file was added, and after an update of diffusers.
"""

import json

from encoder.base_models.facts import read_facts
from encoder.base_models.families import layers_file
from encoder.base_models.modules import pack, read_all_parameters


def write_layers() -> None:
    for facts in read_facts().values():
        if facts.architecture:
            parameters = read_all_parameters(facts)
            path = layers_file(facts.name)
            path.write_text(json.dumps(pack(parameters), indent=1) + "\n", encoding="utf-8")
            print(f"{path.name}: {len(parameters)} parameters")


if __name__ == "__main__":
    write_layers()
