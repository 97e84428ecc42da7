"""Files of gates: which are read, and which are refused with what reason."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from registry.fusion.errors import GatesFileError
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.gates.file import KINDS, load_gates, save_gates
from registry.fusion.gates.rivals import RivalGates


def test_a_file_says_of_which_kind_its_gates_are(tmp_path: Path) -> None:
    path = tmp_path / "gates.safetensors"
    for gates in (AutoLoraGates({"a": 6}, "x"), RivalGates(["a.*.b"], "x")):
        save_gates(gates, path)
        assert type(load_gates(path, "y")) is type(gates) is KINDS[gates.kind]
        assert load_gates(path, "y").base_model == "x"


def test_gates_refuse_files_that_are_not_gates(tmp_path: Path) -> None:
    path = tmp_path / "gates.safetensors"
    with pytest.raises(GatesFileError, match=r"gates\.safetensors"):
        load_gates(path, "demo-flux-tiny")
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(GatesFileError):
        load_gates(path, "demo-flux-tiny")
    gates = AutoLoraGates({"a": 6}, "demo-flux-tiny")
    torch.nn.init.constant_(gates["a"].bias, math.nan)
    save_gates(gates, path)
    with pytest.raises(GatesFileError, match="NaN"):
        load_gates(path, "demo-flux-tiny")
    header = {"format": "autolora-gates", "version": "2", "base_model": "x", "details": "{}"}
    save_file({"a.w_out": torch.ones(6)}, path, header | {"kind": "autolora", "version": "1"})
    with pytest.raises(GatesFileError, match="not autolora-gates version 2"):
        load_gates(path, "demo-flux-tiny")
    save_file({"a.w_out": torch.ones(6)}, path, header | {"kind": "autolora"})
    with pytest.raises(GatesFileError, match="damaged"):
        load_gates(path, "demo-flux-tiny")
    save_file({"a.w_out": torch.ones(6)}, path, {"format": "another"})
    with pytest.raises(GatesFileError, match="not autolora-gates"):
        load_gates(path, "demo-flux-tiny")


def test_files_of_no_kind_that_is_known_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gates.safetensors"
    header = {"format": "autolora-gates", "version": "2", "base_model": "x", "details": "{}"}
    save_file({"a": torch.ones(3)}, path, header | {"kind": "votes"})
    with pytest.raises(GatesFileError, match="unknown kind 'votes'"):
        load_gates(path, "x")
    save_file({"a": torch.ones(2)}, path, header | {"kind": "rivals"})
    with pytest.raises(GatesFileError, match="damaged"):
        load_gates(path, "x")
