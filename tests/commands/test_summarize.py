"""`python src/summarize.py`: fresh networks of given settings, and trained runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
from PIL import Image
from safetensors.torch import load_file

from ternlab.commands.entry import run as run_entry
from ternlab.commands.summarize import main as summarize
from ternlab.core.errors import ExitCode
from ternlab.data.digits import load as load_digits
from ternlab.data.fingerprint import known_shape
from ternlab.data.imagenet import SIZE
from ternlab.data.registry import DATA_SETS
from ternlab.data.settings import DataSettings
from tests.commands import run_command
from tests.commands.run_command import ROOT, TINY
from tests.commands.warm_command import run
from tests.made_once import made_once

SUMMARIZE = "summarize.py"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with a finished quantized run, and its record."""

    def train_in(folder: Path) -> None:
        # Thresholds far from the first ones, so that a fresh network has other codes.
        code, _, err = run(folder, "quant=tga", "quant.threshold.lr=0.5", "quant.threshold.clamp=null", *TINY)
        assert code == ExitCode.DONE, err

    folder = made_once(tmp_path_factory, "other-codes", train_in)
    (path,) = (folder / "logs" / "runs").glob("*-tga-*/record.json")
    return folder, json.loads(path.read_text())


def here(
    typed: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> tuple[int, str, str]:
    """Run the command in this process; return exit code, standard output and standard error."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [SUMMARIZE, *typed])
    capsys.readouterr()
    code = run_entry(ROOT / "conf" / "summarize.yaml", summarize)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_fresh_network_of_imagenet_needs_no_images(tmp_path: Path) -> None:
    typed = ("model=resnet18", "data=imagenet", "quant=tga", "json=true")
    code, out, err = run(tmp_path, *typed, script=SUMMARIZE)
    assert code == ExitCode.DONE, err
    found = json.loads(out)
    assert (found["run_id"], found["model"], found["data"], found["quant"]) == (None, "resnet18", "imagenet", "tga")
    assert found["input_shape"] == [3, 224, 224]
    assert found["parameters"] == 11_689_512
    assert found["macs"] == 1_814_073_344
    assert round(found["ratio"], 2) == 15.78
    assert len(found["layers"]) == 21
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_not_broken_in_a_pipe(tmp_path: Path) -> None:
    code, out, err = run_command.run(tmp_path, "model=resnet20", "quant=rel2", script=SUMMARIZE, COLUMNS="40")
    assert code == ExitCode.DONE, err
    first, _, head, *rows = out.splitlines()
    assert first.startswith("resnet20 on digits, sws-rel2, freshly initialized")
    assert head.endswith("additions left")
    layers = rows[: rows.index("")]
    assert len(layers) == 20
    assert {len(row) for row in layers} == {len(head)}
    assert "for one 1x8x8 image" in out


def test_a_run_is_summarized_with_its_final_weights(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, record = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    code, out, err = run_command.run(folder, f"run={record['run_id']}", "json=true", script=SUMMARIZE)
    assert code == ExitCode.DONE, err
    found, metrics = json.loads(out), record["metrics"]
    assert found["run_id"] == record["run_id"]
    assert found["sparsity"] == metrics["quant/sparsity"]
    assert found["float_bytes"] == metrics["size/float_bytes"]
    assert found["quantized_bytes"] == metrics["size/quantized_bytes"]
    assert found["ratio"] == metrics["compression/ratio"]
    assert found["parameters"] == record["facts"]["parameters"]
    # 3x3 convolutions at 8x8 and at stride 2, and a linear layer from 2x2 cells.
    assert found["macs"] == 9 * 8 * 64 + 9 * 8 * 8 * 16 + 32 * 10
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_fresh_network_of_the_same_settings_has_other_codes(
    finished: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, record = finished
    typed = ["quant=tga", *TINY, "json=true"]
    code, out, _ = here(typed, capsys, monkeypatch, folder)
    fresh = json.loads(out)
    assert code == ExitCode.DONE
    assert fresh["macs"] > 0
    assert fresh["sparsity"] != record["metrics"]["quant/sparsity"]
    assert fresh["quantized_bytes"] == record["metrics"]["size/quantized_bytes"]


def test_a_run_needs_no_data_and_its_table_names_the_weights(
    finished: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, record = finished

    def refuse(*_: Any) -> None:
        raise AssertionError("the data were read")

    monkeypatch.setattr("ternlab.trained.network.shape_of_data", refuse)
    code, out, err = here([f"run={record['run_id']}"], capsys, monkeypatch, folder)
    assert code == ExitCode.DONE, err
    assert f"{record['run_id']}/model.safetensors" in out
    assert "for one 1x8x8 image" in out


def test_a_checkpoint_is_summarized_with_the_settings_beside_it(
    finished: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, record = finished
    last = max((folder / "logs" / "runs" / record["run_id"] / "checkpoints").glob("*.ckpt"))
    code, out, err = here(["quant=tga", *TINY, f"ckpt_path={last}", "json=true"], capsys, monkeypatch, folder)
    assert code == ExitCode.DONE, err
    assert json.loads(out)["sparsity"] == record["metrics"]["quant/sparsity"]


def test_the_file_that_a_training_would_start_from_is_taken(
    finished: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = finished
    (baseline,) = (folder / "logs" / "runs").glob("*-none-*/model.safetensors")
    tiny = [argument for argument in TINY if not argument.startswith("quant.")]
    typed = ["quant=bwn", "quant.granularity=layer", *tiny, "quant.init=file", f"quant.init_file={baseline}"]
    code, out, err = here([*typed, "json=true"], capsys, monkeypatch, folder)
    assert code == ExitCode.DONE, err
    share = float((load_file(baseline)["1.weight"] < 0).double().mean())
    expected = scipy.stats.entropy([share, 1 - share], base=2)
    assert json.loads(out)["layers"][0]["entropy"] == pytest.approx(expected)


# --- the shape of the data


def test_known_shapes_are_those_of_the_sets() -> None:
    digits = load_digits(DataSettings(), Path())
    assert known_shape(DataSettings()) == (digits.channels, digits.size, len(digits.classes))
    assert known_shape(DataSettings(image_size=12)) == (1, 12, 10)
    assert DATA_SETS["imagenet"].shape == (3, SIZE, 1000)
    for name, shape in {
        "cifar10": (3, 32, 10),
        "cifar100": (3, 32, 100),
        "mnist": (1, 28, 10),
        "fashion_mnist": (1, 28, 10),
        "svhn": (3, 32, 10),
    }.items():
        assert known_shape(DataSettings(name=name, root="anywhere")) == shape


@pytest.mark.parametrize(
    ("typed", "shape", "classes"),
    [
        (["data=cifar100"], [3, 32, 32], 100),
        (["data=mnist", "data.image_size=32"], [1, 32, 32], 10),
        (["data=imagenet", "data.image_size=64", "model=resnet18"], [3, 64, 64], 1000),
        (["experiment=cifar10_resnet20_tga"], [3, 32, 32], 10),
        (["data.image_size=16", "debug=smoke"], [1, 16, 16], 10),
    ],
)
def test_the_input_comes_from_the_data(
    typed: list[str],
    shape: list[int],
    classes: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, out, err = here([*typed, "json=true"], capsys, monkeypatch, tmp_path)
    assert code == ExitCode.DONE, err
    found = json.loads(out)
    assert found["input_shape"] == shape
    assert found["layers"][-1]["shape"][0] == classes
    assert found["layers"][0]["shape"][1] == shape[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", ["image_folder", "imagenet"])
def test_own_images_are_looked_at(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part, name in [(part, name) for part in ("train", "val") for name in ("cat", "dog", "eel")]:
        folder = tmp_path / "images" / part / name
        folder.mkdir(parents=True)
        for index in range(12):
            Image.new("RGB", (8, 8), (index, 80, 9)).save(folder / f"{index}.png")
    typed = [f"data={data}", "data.root=images", "data.workers=0", "json=true", "data.val_fraction=0.2"]
    code, out, err = here(typed, capsys, monkeypatch, tmp_path)
    assert code == ExitCode.DONE, err
    found = json.loads(out)
    side = 8 if data == "image_folder" else 224
    assert found["input_shape"] == [3, side, side]
    assert found["layers"][-1]["shape"][0] == 3


# --- what is refused


REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "unknown model": (["model=resnet43"], ["model = resnet43", "resnet44"]),
    "unknown quantizer": (["quant=tgaa"], ["quant = tgaa", "did you mean tga"]),
    "unknown data": (["data=imagnet"], ["data = imagnet", "imagenet"]),
    "unknown key": (["runs=a"], ["runs", "run"]),
    "bad value": (["quant=tga", "quant.threshold.init=-1"], ["quant.threshold.init = -1"]),
    "bad json": (["json=maybe"], ["json = maybe"]),
    "missing run": (["run=nothing"], ["run = nothing", "no such run"]),
    "run and settings": (["run=a", "model=resnet18"], ["model", "would be ignored", "only run=ID"]),
    "run and a setting": (["run=a", "optim.lr=3"], ["optim.lr", "would be ignored"]),
    "no root": (["data=image_folder"], ["data.root"]),
    "missing root": (["data=imagenet", "data.root=nowhere"], ["data.root = nowhere"]),
    "missing weights": (["model.weights=nowhere.pt"], ["model.weights = nowhere.pt"]),
    "missing checkpoint": (["ckpt_path=nowhere.ckpt"], ["ckpt_path = nowhere.ckpt"]),
    "images too small": (["model=alexnet", "data.image_size=4"], ["at least 8 pixels"]),
    "no layer left": (["quant=tga", "quant.include=[layer9.*]"], ["layer9.*", "matches no layer"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_are_refused_with_words_that_help(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, words = REFUSED[case]
    code, out, err = here(typed, capsys, monkeypatch, tmp_path)
    assert code == ExitCode.BAD_SETTINGS
    assert out == ""
    assert "Traceback" not in err
    for word in words:
        assert word in err, err
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_weights_is_refused(
    finished: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "logs" / "runs" / "stopped"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps({**finished[1], "status": "interrupted"}))
    code, _, err = here(["run=stopped"], capsys, monkeypatch, tmp_path)
    assert code == ExitCode.BAD_SETTINGS
    assert "run = stopped: has no final weights (its status is interrupted)" in err
    assert "instead: re-run the command in its record" in err


def test_a_typo_is_answered_by_a_real_process_before_torch_is_imported(tmp_path: Path) -> None:
    code, out, err = run_command.run(tmp_path, "quant=tgaa", script=SUMMARIZE)
    assert (code, out) == (ExitCode.BAD_SETTINGS, "")
    assert "did you mean tga" in err
    script = (
        "import sys; sys.argv = ['summarize.py', 'quant=tga', 'quant.threshold.init=-1'];"
        "from pathlib import Path; from ternlab.commands.entry import run;"
        "from ternlab.commands.summarize import main;"
        f"code = run(Path({str(ROOT / 'conf' / 'summarize.yaml')!r}), main);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == ExitCode.BAD_SETTINGS, done.stderr


def test_a_fresh_network_is_summarized_without_lightning(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['summarize.py', 'json=true'];"
        "from pathlib import Path; from ternlab.commands.entry import run;"
        "from ternlab.commands.summarize import main;"
        f"code = run(Path({str(ROOT / 'conf' / 'summarize.yaml')!r}), main);"
        "assert 'torch' in sys.modules and 'pytorch_lightning' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == ExitCode.DONE, done.stderr


def test_help_shows_examples(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "--help", script=SUMMARIZE)
    assert code == ExitCode.DONE
    assert "python src/summarize.py run=ID" in out
    assert "python src/train.py" not in out
    assert "resnet20" in out and "json: false" in out
