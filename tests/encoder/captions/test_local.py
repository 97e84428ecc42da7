"""Captions by a model on this machine: tiny Qwen-VLs, whose random numbers talk nonsense.

So decoding is run for real, and every answer is one that cannot be read.
"""

import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from encoder.captions.images import prepare
from encoder.captions.local import ANSWER_START, LocalCaptioner
from encoder.errors import CaptionerError, CaptionError
from tests.encoder.captions.conftest import png
from tests.encoder.captions.tiny_vlm import Kind, write_tiny_vlm

torch.set_num_threads(1)
KINDS: tuple[Kind, ...] = ("qwen3_vl", "qwen2_5_vl")


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_vlm(tmp_path_factory.mktemp(request.param), request.param)


def open_captioner(folder: Path, batch_size: int = 2) -> LocalCaptioner:
    return LocalCaptioner(folder, batch_size=batch_size, max_tokens=24)


def test_each_image_gets_an_answer_and_nonsense_is_told_as_such(folder: Path) -> None:
    captioner = open_captioner(folder)
    images = [png((40, 60)), b"no image", png((300, 20), "blue"), png((64, 64), "green")]

    found = dict(captioner.caption(images, "en"))

    assert captioner.name == folder.name
    assert sorted(found) == [0, 1, 2, 3]
    problems = {place: str(result) for place, result in found.items()}
    assert all(isinstance(result, CaptionError) for result in found.values())
    assert "no image of a kind" in problems.pop(1)
    for problem in problems.values():
        assert problem.startswith('the JSON is broken or cut off: \'{"short": ')


def test_answers_begin_as_asked_and_end_by_themselves(folder: Path) -> None:
    """At most with `max_tokens`, each a byte here."""
    captioner = open_captioner(folder)

    answers = captioner._answer([prepare(png()), prepare(png(colour="blue"))], "zh")

    assert len(answers) == 2
    for answer in answers:
        assert isinstance(answer, str)
        assert answer.startswith(ANSWER_START)
        assert len(answer) <= len(ANSWER_START) + 24


def test_a_picture_says_the_same_alone_and_beside_others(folder: Path) -> None:
    """Texts of a batch are filled up to one length, which must not shift what is seen."""
    captioner = open_captioner(folder)
    small, large = prepare(png((32, 32), "red")), prepare(png((120, 80), "blue"))
    model = captioner._model

    with torch.inference_mode():
        both = model(**captioner._make_inputs([small, large], "en")).logits[:, -1]
        alone = [
            model(**captioner._make_inputs([one], "en")).logits[0, -1] for one in (small, large)
        ]

    assert torch.allclose(both[0], alone[0], atol=1e-5)
    assert torch.allclose(both[1], alone[1], atol=1e-5)
    assert not torch.allclose(both[0], both[1], atol=1e-3), "it looks at the picture"


def test_a_model_may_be_told_not_to_think(folder: Path) -> None:
    question = open_captioner(folder)._question("en")

    assert question.endswith(f"<|im_start|>assistant\n{ANSWER_START}")
    assert question.count("<|image_pad|>") == 1


@pytest.mark.parametrize(
    "full",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, full: RuntimeError
) -> None:
    """A GPU's memory is known by trying; here one that holds one picture at a time."""
    captioner = open_captioner(folder, batch_size=4)
    generate, asked = captioner._model.generate, []
    held: list[weakref.ref[torch.Tensor]] = []

    def narrow(**inputs: torch.Tensor) -> torch.Tensor:
        assert not any(tensor() is not None for tensor in held), "what failed is let go of"
        asked.append(len(inputs["input_ids"]))
        if len(inputs["input_ids"]) > 1:
            held.append(weakref.ref(inputs["input_ids"]))
            raise type(full)(*full.args)
        tokens: torch.Tensor = generate(**inputs)
        return tokens

    monkeypatch.setattr(captioner._model, "generate", narrow)

    assert len(dict(captioner.caption([png()] * 4, "en"))) == 4
    assert asked == [4, 2, 1, 1, 2, 1, 1]


def test_a_model_that_does_not_fit_at_all_is_said_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = open_captioner(folder)

    def full(**inputs: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(captioner._model, "generate", full)

    with pytest.raises(CaptionerError, match="needs more memory than cpu has"):
        list(captioner.caption([png()], "en"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("expected scalar type Half but found Float"), "fails at every picture"),
        (NotImplementedError("'aten::x' is not implemented for MPS"), "does not run on"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "needs more memory"),
    ],
)
def test_what_fails_for_every_picture_is_no_pictures_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    captioner = open_captioner(folder, batch_size=4)

    def broken(**_: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(captioner._model, "generate", broken)

    with pytest.raises(CaptionerError, match=said):
        list(captioner.caption([png((32, 32))] * 9, "en"))


def test_what_a_model_fails_at_is_that_pictures_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In half precision some pictures end in numbers that nothing can be drawn from."""
    captioner = open_captioner(folder, batch_size=4)
    generate = captioner._model.generate
    images = [png((32, 32)), png((120, 80)), png((32, 32))]
    bad = len(captioner._make_inputs([prepare(images[1])], "en")["pixel_values"])

    def fragile(**inputs: torch.Tensor) -> torch.Tensor:
        if bad in inputs["image_grid_thw"].prod(dim=1).tolist():
            raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0\n.")
        tokens: torch.Tensor = generate(**inputs)
        return tokens

    monkeypatch.setattr(captioner._model, "generate", fragile)

    found = {place: str(result) for place, result in captioner.caption(images, "en")}

    assert found.pop(1).startswith(f"{captioner.name} failed at it: probability tensor")
    assert sorted(found) == [0, 2]
    assert all("JSON" in problem for problem in found.values())


def test_a_lost_device_is_no_pictures_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that come after would be given up for it."""
    captioner = open_captioner(folder)

    def lost(**inputs: torch.Tensor) -> torch.Tensor:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered\nmore")

    monkeypatch.setattr(captioner._model, "generate", lost)

    with pytest.raises(CaptionerError, match="lost cpu: CUDA error: device-side assert triggered"):
        list(captioner.caption([png(), png()], "en"))


def test_what_holds_no_model_is_said_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(CaptionerError, match=f"can be loaded from {tmp_path}"):
        list(open_captioner(tmp_path).caption([png()], "en"))


def test_a_quantised_model_that_wants_another_package_is_said_so(
    folder: Path, tmp_path: Path
) -> None:
    quantised = tmp_path / "awq"
    shutil.copytree(folder, quantised)
    config = json.loads((quantised / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4, "version": "gemm"}
    (quantised / "config.json").write_text(json.dumps(config))

    with pytest.raises(CaptionerError, match=f"can be loaded from {quantised}"):
        list(open_captioner(quantised).caption([png()], "en"))


def test_a_device_that_torch_was_not_built_for_is_said_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch.nn.Module, "to", absent)

    with pytest.raises(CaptionerError, match="Torch not compiled with CUDA enabled"):
        list(open_captioner(folder).caption([png()], "en"))


def test_a_damaged_model_is_said_so(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"{}")

    with pytest.raises(CaptionerError, match="can be loaded from"):
        list(open_captioner(broken).caption([png()], "en"))


def test_a_model_without_some_of_its_weights_is_not_run(folder: Path, tmp_path: Path) -> None:
    """transformers would go on with random ones, and captions would be lies."""
    partial = tmp_path / "partial"
    shutil.copytree(folder, partial)
    weights = load_file(partial / "model.safetensors")
    name = next(name for name in weights if "mlp.gate_proj" in name)
    save_file(
        {n: w for n, w in weights.items() if n != name},
        partial / "model.safetensors",
        metadata={"format": "pt"},
    )

    with pytest.raises(CaptionerError, match=f"lacks weights: .*{name.rpartition('layers')[2]}"):
        list(open_captioner(partial).caption([png()], "en"))


def test_a_folder_without_a_template_is_no_model_to_talk_to(folder: Path, tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    shutil.copytree(folder, silent)
    template = (silent / "chat_template.jinja").read_text()
    (silent / "chat_template.jinja").unlink()

    with pytest.raises(CaptionerError, match="no chat template"):
        list(open_captioner(silent).caption([png()], "en"))

    # Qwen2.5-VL's folders have it here.
    (silent / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert len(list(open_captioner(silent).caption([png()], "en"))) == 1
