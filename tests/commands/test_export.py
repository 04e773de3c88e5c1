"""`python src/export.py`: files of every format, and what the run's record then says of them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ternlab.commands.export import main as export
from ternlab.core.cpu import this_cpu
from ternlab.core.errors import ExitCode, SettingsError
from ternlab.data.module import build_data
from ternlab.export.info import info
from ternlab.export.packed import load, read_codes
from ternlab.export.runtimes import onnx_runtime
from ternlab.export.target_settings import PackedSettings
from ternlab.models.build import build_model
from ternlab.models.settings import ModelSettings
from ternlab.quantizers.attach import codes, quantize, quantized_layers
from ternlab.quantizers.base import Codes
from ternlab.runs.directory import RunDirectory
from ternlab.trained.exporting import write_packed
from ternlab.trained.network import Trained, trained_network
from ternlab.training.network import Shape
from tests.commands.conftest import Here
from tests.commands.run_command import run

EXPORT = "export.yaml"


@pytest.fixture
def copied(digits_run: RunDirectory, baseline_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the run and of its baseline, as a project holds them."""
    for directory in (digits_run, baseline_run):
        shutil.copytree(directory.path, tmp_path / "logs" / "runs" / directory.run_id)
    return RunDirectory(tmp_path / "logs" / "runs" / digits_run.run_id)


def project(directory: RunDirectory) -> Path:
    return directory.path.parents[2]


def metrics_of(directory: RunDirectory) -> dict[str, float]:
    found: dict[str, float] = (directory.record() or {})["metrics"]
    return found


def images_of(directory: RunDirectory) -> Tensor:
    data = build_data(directory.settings().data, data_dir=Path(), seed=0)
    data.setup()
    return torch.cat([images for images, _ in data.test_dataloader()])


def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return network.eval()(images)


def entropy_of(layer: Codes) -> float:
    """Return the bits that the frequencies of a layer's codes allow."""
    (plane,) = layer.planes
    _, counts = np.unique(plane.codes.numpy(), return_counts=True)
    return float((counts * np.log2(counts.sum() / counts)).sum())


def exported(directory: RunDirectory, here: Here, *typed: str) -> tuple[str, dict[str, float]]:
    """Export and return what was printed and the metrics that were added."""
    before = metrics_of(directory)
    code, out, err = here(EXPORT, export, f"run={directory.run_id}", *typed, folder=project(directory))
    assert code == ExitCode.DONE, err
    after = metrics_of(directory)
    own = {name: value for name, value in before.items() if not name.startswith("export/")}
    assert own.items() <= after.items()
    return out, {name: value for name, value in after.items() if name not in own}


# --- packed


@pytest.mark.parametrize("packing", ["trit5", "2bit", "entropy"])
def test_a_packed_file_is_the_network_bit_for_bit(copied: RunDirectory, here: Here, packing: str) -> None:
    out, added = exported(copied, here, f"packing={packing}")
    path = copied.path / "export" / "packed.safetensors"
    assert str(path.relative_to(project(copied))) in out
    size = path.stat().st_size
    found, weights = info(path), 8 * 9 + 8 * 8 * 9 + 320
    assert added == {
        "export/bytes": size,
        "export/ratio": metrics_of(copied)["size/float_bytes"] / size,
        "export/bits_per_weight": found["bits_per_weight"],
    }
    assert found["weights"] == weights
    assert found["run_id"] == copied.run_id
    bits = added["export/bits_per_weight"]
    if packing == "entropy":
        # The coder writes words of 32 bits.
        assert bits * weights <= sum(entropy_of(layer) + 64 for layer in read_codes(path).values())
    else:
        # What does not fill the last byte of a layer counts.
        assert bits == pytest.approx({"trit5": 1.6, "2bit": 2}[packing], rel=0.01)
    trained, images = trained_network(copied, "data").model, images_of(copied)
    assert torch.equal(logits(load(path), images), logits(trained, images))
    for (name, layer), (own, of_file) in zip(quantized_layers(trained), read_codes(path).items(), strict=True):
        assert name == own
        assert torch.equal(codes(layer).stacked(), of_file.stacked())


def test_batch_norm_can_be_folded(copied: RunDirectory, here: Here) -> None:
    exported(copied, here)
    plain = (copied.path / "export" / "packed.safetensors").stat().st_size
    exported(copied, here, "fold_batchnorm=true")
    path = copied.path / "export" / "packed.safetensors"
    assert len(info(path)["folded"]) == 2
    assert path.stat().st_size != plain
    images = images_of(copied)
    expected = logits(trained_network(copied, "data").model, images)
    found = logits(load(path), images)
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


class Untraceable(nn.Module):
    """Looks at the values that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.layer(images.flatten(1)) if images.sum() > 0 else self.layer(-images.flatten(1))


def test_what_cannot_be_folded_is_refused_with_the_setting_to_type(digits_run: RunDirectory, tmp_path: Path) -> None:
    one = Trained(digits_run.settings(), Shape(1, 8, 10), quantize(Untraceable(), "tga"))
    with pytest.raises(SettingsError, match=r"(?s)^fold_batchnorm = True: .*instead: fold_batchnorm=false$"):
        write_packed(digits_run, one, PackedSettings(run="one", fold_batchnorm=True), tmp_path / "packed")
    assert write_packed(digits_run, one, PackedSettings(run="one", fold_batchnorm=False), tmp_path / "packed")[
        "export/bytes"
    ]


def test_the_numbers_are_printed_with_the_published_way_of_counting(copied: RunDirectory, here: Here) -> None:
    out, added = exported(copied, here)
    assert f"bytes              {added['export/bytes']:,.0f}\n" in out
    assert f"ratio              {added['export/ratio']:.4f}\n" in out
    assert f"bits_per_weight    {added['export/bits_per_weight']:.4f}\n" in out
    assert f"the compression ratio is {metrics_of(copied)['compression/ratio']:.2f}x" in out


def test_the_same_run_gives_the_same_bytes(copied: RunDirectory, here: Here, tmp_path: Path) -> None:
    exported(copied, here, "out=first")
    exported(copied, here, "out=second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_out_is_taken_as_it_is_typed(copied: RunDirectory, here: Here, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    out, added = exported(copied, here, "out=there/net.tern")
    path = tmp_path / "there" / "net.tern"
    assert out.startswith("there/net.tern\n")
    assert added["export/bytes"] == path.stat().st_size
    assert not (copied.path / "export").exists()


def test_a_folder_that_is_not_there_is_not_made(copied: RunDirectory, here: Here, tmp_path: Path) -> None:
    code, _, err = here(EXPORT, export, f"run={copied.run_id}", "out=mistyped/net.tern", folder=project(copied))
    assert code == ExitCode.BAD_SETTINGS
    assert "out = mistyped/net.tern" in err and "no folder mistyped" in err
    assert not (tmp_path / "mistyped").exists()


def test_the_record_tells_the_files_apart(copied: RunDirectory, here: Here, tmp_path: Path) -> None:
    _, first = exported(copied, here, "packing=2bit")
    _, second = exported(copied, here, "packing=entropy", "out=other.tern")
    files = (copied.record() or {})["exports"]
    inside, outside = str(copied.path / "export" / "packed.safetensors"), str(tmp_path / "other.tern")
    assert files[inside]["packing"] == "2bit" and files[inside]["export/bytes"] == first["export/bytes"]
    assert files[outside]["packing"] == "entropy" and files[outside]["export/bytes"] == second["export/bytes"]


# --- the other formats


def test_onnx(copied: RunDirectory, here: Here) -> None:
    _, added = exported(copied, here, "format=onnx")
    path = copied.path / "export" / "model.onnx"
    assert added == {"export/onnx_bytes": path.stat().st_size}
    images = images_of(copied)
    expected = logits(trained_network(copied, "data").model, images).numpy()
    found = onnx_runtime(path, "").logits(images.numpy())
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    header = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}["ternlab"]
    assert header["run_id"] == copied.run_id
    assert header["architecture"]["classes"] == [str(digit) for digit in range(10)]
    assert header["preprocessing"] == (copied.record() or {})["facts"]["preprocessing"]
    assert str(copied.path.parent).encode() not in path.read_bytes()


@pytest.mark.parametrize("calibration", ["minmax", "percentile"])
def test_int8(copied: RunDirectory, here: Here, calibration: str) -> None:
    typed = ("format=onnx", "activations=int8", f"calibration={calibration}", "images=96")
    _, added = exported(copied, here, *typed)
    path = copied.path / "export" / "model.int8.onnx"
    assert added.keys() == {"export/int8_bytes", "export/int8_top1", "export/int8_loss_top1"}
    assert added["export/int8_bytes"] == path.stat().st_size
    assert abs(added["export/int8_top1"] - metrics_of(copied)["test/top1"]) <= 1
    assert info(path)["metrics"]["export/int8_top1"] == added["export/int8_top1"]
    assert info(path)["activations"] == "int8"
    assert added["export/int8_loss_top1"] == metrics_of(copied)["test/top1"] - added["export/int8_top1"]
    (export,) = (copied.record() or {})["exports"].values()
    assert export["measured_on"] == str(this_cpu())


@pytest.mark.parametrize("quantized", [True, False])
def test_a_state_dict_fits_the_plain_network(
    copied: RunDirectory, baseline_run: RunDirectory, here: Here, quantized: bool
) -> None:
    directory = copied if quantized else RunDirectory(copied.path.parent / baseline_run.run_id)
    _, added = exported(directory, here, "format=state_dict")
    path = directory.path / "export" / "state_dict.safetensors"
    assert added == {"export/state_dict_bytes": path.stat().st_size}
    network = build_model(ModelSettings(name="tiny"), channels=1, size=8, classes=10)
    network.load_state_dict(load_file(path), strict=True)
    images = images_of(directory)
    assert torch.equal(logits(network, images), logits(trained_network(directory, "data").model, images))
    assert (len(load_file(path)["1.weight"].unique()) <= 3) == quantized


def test_a_full_precision_run_goes_to_onnx(copied: RunDirectory, baseline_run: RunDirectory, here: Here) -> None:
    directory = RunDirectory(copied.path.parent / baseline_run.run_id)
    exported(directory, here, "format=onnx")
    images = images_of(directory)
    expected = logits(trained_network(directory, "data").model, images).numpy()
    found = onnx_runtime(directory.path / "export" / "model.onnx", "").logits(images.numpy())
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


# --- what is refused


REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "no run": ([], ["run"]),
    "unknown run": (["run=nothing"], ["run = nothing", "no such run"]),
    "unknown format": (["run=RUN", "format=onx"], ["format = onx", "did you mean onnx?"]),
    "unknown packing": (["run=RUN", "packing=2bits"], ["packing = 2bits", "instead: packing=2bit"]),
    "unknown key": (["run=RUN", "formt=onnx"], ["formt", "did you mean format"]),
    "int8 of packed": (
        ["run=RUN", "activations=int8"],
        ["activations = int8: packed has no such option", "or format=onnx"],
    ),
    "packing of onnx": (
        ["run=RUN", "format=onnx", "packing=2bit"],
        ["packing = 2bit: onnx has no such option", "or format=packed"],
    ),
    "folding of onnx": (
        ["run=RUN", "format=onnx", "fold_batchnorm=true"],
        ["onnx has no such option", "or format=packed"],
    ),
    "no images": (["run=RUN", "format=onnx", "activations=int8", "images=0"], ["images = 0"]),
    "full precision": (["run=BASELINE"], ["format = packed", "is a full-precision run", "format=state_dict"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_are_refused_with_words_that_help(
    case: str, copied: RunDirectory, baseline_run: RunDirectory, here: Here
) -> None:
    typed, words = REFUSED[case]
    ids = {"run=RUN": f"run={copied.run_id}", "run=BASELINE": f"run={baseline_run.run_id}"}
    before = copied.record()
    code, out, err = here(EXPORT, export, *(ids.get(word, word) for word in typed), folder=project(copied))
    assert code == ExitCode.BAD_SETTINGS, err
    assert out == ""
    assert "Traceback" not in err
    for word in words:
        assert word in err, err
    assert copied.record() == before
    assert not [path for path in copied.path.parent.glob("*/export/*") if path.is_file()]


@pytest.mark.parametrize(
    ("package", "typed"),
    [("onnx", ["format=onnx"]), ("onnxscript", ["format=onnx"]), ("constriction", ["packing=entropy"])],
)
def test_a_missing_package_is_named(
    package: str, typed: list[str], copied: RunDirectory, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    code, _, err = here(EXPORT, export, f"run={copied.run_id}", *typed, folder=project(copied))
    assert code == ExitCode.BAD_SETTINGS, err
    assert package in err
    assert "pip install 'ternlab[export]'" in err


def test_a_real_process_exports(copied: RunDirectory, tmp_path: Path) -> None:
    code, out, err = run(tmp_path, f"run={copied.run_id}", "out=net.tern", script="export.py")
    assert (code, err) == (ExitCode.DONE, "")
    assert out.startswith("net.tern\n")
    found: dict[str, Any] = info(tmp_path / "net.tern")
    assert found["bytes"] == metrics_of(copied)["export/bytes"]


def test_help_shows_examples(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "--help", script="export.py")
    assert code == ExitCode.DONE
    assert "python src/export.py run=ID format=onnx activations=int8" in out
    assert "packing: trit5" in out
