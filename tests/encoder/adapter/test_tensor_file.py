import json
import struct
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from encoder.adapter.safetensors_header import DTYPE_BYTES, read_header
from encoder.adapter.tensor_file import DTYPES, TensorFile
from encoder.errors import LoraFileError

PAGE_BYTES = 4096


def resident_bytes(path: Path) -> int:
    """Memory that pages of a file take in this process."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.endswith(str(path)):
            ours = True
        elif ours and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
            ours = False
    return total


def test_tensors_of_every_type_are_those_of_the_library(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: torch.ones(3, 2).to(dtype) for name, dtype in DTYPES.items()}, path)
    file = TensorFile(path, read_header(path))

    assert DTYPES.keys() == DTYPE_BYTES.keys()
    for name, tensor in load_file(path).items():
        assert file.tensor(name).dtype == tensor.dtype
        assert torch.equal(file.tensor(name).float(), tensor.float())


def test_tensors_off_their_alignment_are_read_too(tmp_path: Path) -> None:
    text = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    text += b" " * (-len(text) % 8 + 1)
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<2f", 1.5, -2))

    assert TensorFile(path, read_header(path)).tensor("a").tolist() == [1.5, -2]


def test_tensors_without_entries_are_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(0, 4)}, path)

    assert TensorFile(path, read_header(path)).tensor("a").shape == (0, 4)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_released_memory_is_read_again_when_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    values = torch.arange(1_000_000, dtype=torch.float32)
    save_file({"a": values}, path)
    file = TensorFile(path, read_header(path))
    tensor = file.tensor("a")
    untouched = resident_bytes(path)

    assert torch.equal(tensor, values)
    used = resident_bytes(path)
    file.release()

    assert untouched < 100 * PAGE_BYTES
    assert used > 3_900_000
    assert resident_bytes(path) == 0
    assert torch.equal(tensor, values)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_what_was_used_is_released_once_it_is_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call for every small tensor would take longer than reading it."""
    monkeypatch.setattr("encoder.adapter.tensor_file.KEPT_BYTES", 6_000_000)
    path = tmp_path / "a.safetensors"
    save_file({name: torch.ones(1_000_000) for name in "ab"}, path)
    file = TensorFile(path, read_header(path))
    resident = []
    for name in "ab":
        file.tensor(name).sum()
        file.used([file.tensor(name)])
        resident.append(resident_bytes(path))

    assert resident[0] > 3_900_000
    assert resident[1] == 0


def test_a_file_that_shrank_is_refused_and_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(100_000)}, path)
    header = read_header(path)
    path.write_bytes(b"")

    with pytest.raises(LoraFileError, match="changed while it was read"):
        TensorFile(path, header)
