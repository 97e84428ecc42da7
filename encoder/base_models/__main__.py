"""Write the shipped tables anew from the configs in them: `python -m encoder.base_models`.

A family is added by a JSON file here with the diffusers class (`architecture`), its `config`,
where that is published (`source`) and the hidden sizes of its text encoders (`text_widths`);
this command fills in `modules`; then its base models are named in encoder/base_models/names.py.
"""

import json
from pathlib import Path

from encoder.base_models.modules import pack, read_parameters

FOLDER = Path(__file__).parent


def write_tables(folder: Path = FOLDER) -> None:
    """Fill in `modules` of every table by building its network without weights."""
    for path in sorted(folder.glob("*.json")):
        table = json.loads(path.read_text())
        parameters = read_parameters(table["architecture"], table["config"])
        table["modules"] = pack(parameters)
        path.write_text(json.dumps(table, indent=1) + "\n")
        print(f"{path.name}: {len(parameters)} parameters")


if __name__ == "__main__":
    write_tables()
