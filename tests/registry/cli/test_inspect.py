"""`autolora inspect`, as it is run: what it prints, what it returns, what it fetches."""

import base64
import json
import math
from pathlib import Path

import pytest
import torch
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from demo.hub.ranges import serve_file
from encoder.adapter.lora_file import read
from encoder.base_models.families import find_family
from encoder.sketches.fingerprint import Fingerprint, fingerprint, is_same
from registry.cli.app import app
from registry.cli.inspect import HEADER_ONLY
from tests.encoder.builders import Factors, make_factors, write_adapter


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("REGISTRY_HOME", str(tmp_path / "home"))


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *words])


def nan_factors() -> Factors:
    factors = make_factors()
    factors["transformer_blocks.0.attn.to_q"][0][0, 0] = math.nan
    return factors


def test_a_person_gets_a_table_that_fits_the_terminal(tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "cat.safetensors")

    result = run(str(path))

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(cell_len, lines)) <= 80
    facts = dict(line.split("  ", 1) for line in lines if "  " in line)
    assert facts["base model"].split() == ["demo-flux-tiny", "(certain)"]
    assert facts["ranks"].strip() == "2"
    assert facts["fusable"].strip() == "yes"
    assert "single_transformer_blocks" in result.stdout
    assert "█" in result.stdout


def test_a_program_gets_the_verdict_the_hashes_and_the_fingerprint(tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "cat.safetensors")

    answer = json.loads(run(str(path), "--json").stdout)

    assert answer["loadable"]
    assert not answer["header_only"]
    assert answer["hashes"]["autov2"] == answer["hashes"]["sha256"][:10].upper()
    stored = Fingerprint.from_bytes(base64.b64decode(answer["fingerprint"]["base64"]))
    assert is_same(stored, fingerprint(read(path)))
    assert sum(block["energy"] for block in answer["spectrum"]) == pytest.approx(1)


def test_what_looks_like_markup_is_printed_as_it_is(tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "[red]cat.safetensors")

    assert "[red]cat" in run(str(path)).stdout


def test_what_cannot_be_loaded_says_why_and_fails(tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "cat.safetensors", nan_factors())

    result = run(str(path))
    answer = run(str(path), "--json")

    assert result.exit_code == answer.exit_code == 1
    assert "transformer_blocks.0.attn.to_q" in result.stdout
    assert not json.loads(answer.stdout)["loadable"]
    assert not result.stderr


def test_an_adapter_without_effect_has_a_verdict_and_no_fingerprint(tmp_path: Path) -> None:
    zero = {name: (down, torch.zeros_like(up)) for name, (down, up) in make_factors().items()}

    result = run(str(write_adapter(tmp_path / "cat.safetensors", zero)), "--json")

    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert not answer["fusable"]
    assert "fingerprint" not in answer


def test_of_a_url_only_the_header_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_adapter(tmp_path / "cat.safetensors", make_factors(rank=64), dtype=torch.float32)
    with serve_file(path) as server:
        monkeypatch.setenv("REGISTRY_MODELSCOPE_ENDPOINT", server.url)
        table = run(server.url + "/cat.safetensors")
        answer = json.loads(run(server.url + "/cat.safetensors", "--json").stdout)

    assert table.exit_code == 0, table.output
    said = " ".join(table.stdout.split())
    assert said.endswith(HEADER_ONLY)
    assert said.count("the header was read") == 1
    assert answer["header_only"]
    assert answer["base_model"] == "demo-flux-tiny"
    assert answer["size"] == path.stat().st_size
    assert server.sent_bytes < 2 * path.stat().st_size / 10


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("/no/such.safetensors", "such.safetensors"),
        ("a" * 300, "File name too long"),
        ("http://127.0.0.1:9/x.safetensors", "not https"),
        ("https://127.0.0.1:9/x.safetensors", "not on the public internet"),
    ],
)
def test_failures_are_one_line(target: str, cause: str) -> None:
    result = run(target)

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert cause in result.stderr


FLUX = find_family("flux.1")
QUERIES = [f"transformer_blocks.{index}.attn.to_q" for index in range(3)]


def test_what_you_know_decides_where_layers_allow_several(tmp_path: Path) -> None:
    assert FLUX is not None
    factors = make_factors(names=QUERIES, family=FLUX)
    path = write_adapter(tmp_path / "cat.safetensors", factors, metadata={})

    alone = json.loads(run(str(path), "--json").stdout)
    said = json.loads(run(str(path), "--base-model", "FLUX.1 dev", "--json").stdout)
    wrong = json.loads(run(str(path), "--base-model", "pony", "--json").stdout)

    assert (alone["base_model"], alone["fusable"]) == ("unknown", False)
    assert (said["base_model"], said["fusable"]) == ("flux.1-dev", True)
    assert said["said_by"] == "you say 'flux.1-dev'"
    assert wrong["base_model"] == "unknown"
    assert wrong["evidence"][-1] == "you say 'pony', which its layers rule out"
    nonsense = run(str(path), "--base-model", "flux.1-dve")
    assert nonsense.exit_code == 1
    assert "did you mean flux.1-dev" in nonsense.stderr


def test_certainty_is_of_the_family_and_the_scale_is_printed(tmp_path: Path) -> None:
    family = find_family("sd-1.5")
    assert family is not None
    factors = make_factors(names=[name for name in family.layers if "attn2" in name], family=family)
    metadata = {"lora_adapter_metadata": json.dumps({"lora_alpha": 16, "r": 2})}
    path = write_adapter(tmp_path / "cat.safetensors", factors, metadata=metadata, prefix="")

    said = " ".join(run(str(path)).stdout.split())

    assert "sd-1.5, or another of its family: sd-1.4, sd-1.5-inpainting" in said
    assert "the family is certain; nobody says which" in said
    assert "scale 8 (alpha 16; alpha / rank, from the metadata)" in said
    claimed = " ".join(run(str(path), "--base-model", "sd-1.5-inpainting").stdout.split())
    assert "base model sd-1.5-inpainting (its family is certain)" in claimed


def write_several(folder: Path) -> Path:
    """A good file, one below, a pointer and a pickle."""
    (folder / "sub").mkdir(parents=True)
    write_adapter(folder / "cat.safetensors")
    write_adapter(folder / "sub" / "[red]dog.safetensors", make_factors(1))
    (folder / "pointer.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    (folder / "old.pt").write_bytes(b"PK\x03\x04" + bytes(60))
    return folder


@pytest.mark.parametrize("only", [(), ("--header",)])
def test_a_folder_is_a_line_a_file(tmp_path: Path, only: tuple[str, ...]) -> None:
    result = run(str(write_several(tmp_path / "loras")), *only)

    assert result.exit_code == 1, "one cannot be loaded"
    lines = result.stdout.splitlines()
    assert max(map(cell_len, lines)) <= 80
    words = " ".join(" ".join(lines).split())
    assert "cat demo-flux-tiny" in words
    assert "Git LFS" in words
    assert "Convert" in words
    assert sum("yes" in line.split() for line in lines) == 2


def test_several_files_are_a_list_for_a_program(tmp_path: Path) -> None:
    folder = write_several(tmp_path / "loras")

    result = run(str(folder / "cat.safetensors"), str(folder / "sub"), "--json")

    assert result.exit_code == 0
    answers = json.loads(result.stdout)
    assert [answer["name"] for answer in answers] == [
        str(folder / "cat.safetensors"),
        "[red]dog.safetensors",
    ]
    assert all(answer["fusable"] and answer["fingerprint"] for answer in answers)


def test_what_is_broken_among_several_says_why(tmp_path: Path) -> None:
    answers = json.loads(run(str(write_several(tmp_path / "loras")), "--json").stdout)

    broken = {answer["name"]: answer["reasons"] for answer in answers if not answer["loadable"]}
    assert broken.keys() == {"pointer.safetensors", "old.pt"}
    assert "Git LFS" in broken["pointer.safetensors"][0]


def test_what_a_refresh_does_not_take_of_a_folder_is_told(tmp_path: Path) -> None:
    """Half a download reads like a whole one, and what cannot be looked at like nothing."""
    for name in ("half", "whole"):
        write_adapter(tmp_path / f"{name}.safetensors")
    (tmp_path / "half.safetensors.aria2").touch()
    (tmp_path / "linked").symlink_to(tmp_path / "nothing")
    (tmp_path / "short.sft").touch()

    result = run(str(tmp_path), "--json")

    told = {one["name"]: one["reasons"] for one in json.loads(result.stdout) if not one["loadable"]}
    assert told == {
        "half.safetensors": ["is still being downloaded: half.safetensors.aria2 lies beside it"],
        "linked": ["is a link that leads to nothing"],
        "short.sft": ["is called .sft: rename it to .safetensors, and it is read"],
    }
    assert result.exit_code == 1


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    result = run(str(tmp_path))

    assert result.exit_code == 1
    assert "no adapter is there" in result.stderr


def test_of_a_header_less_is_known(tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "cat.safetensors")

    answer = json.loads(run(str(path), "--header", "--json").stdout)

    assert answer["header_only"]
    assert answer["base_model"] == "demo-flux-tiny"
    assert "fingerprint" not in answer
    assert answer["spectrum"] == []
