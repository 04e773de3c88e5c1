"""`python src/predict.py`: classes of image files, as the evaluation finds them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import ternlab
from ternlab.commands.predict import main as predict
from ternlab.core.errors import ExitCode, SettingsError, TernlabError
from ternlab.data.digits import load as load_digits
from ternlab.data.layout import IMAGE_SUFFIXES
from ternlab.data.listing import listed
from ternlab.data.module import build_data
from ternlab.data.settings import DataSettings
from ternlab.export.header import Architecture
from ternlab.export.packed import load, save
from ternlab.export.prediction import predictions
from ternlab.export.runtimes import Runtime, torch_runtime
from ternlab.export.signature import ModelSignature, Preprocessing, read_signature
from ternlab.models.build import build_model
from ternlab.models.settings import ModelSettings
from ternlab.runs.directory import RunDirectory
from tests.commands import warm_command
from tests.commands.conftest import Files, Here
from tests.commands.run_command import LONG, PATHS, ROOT, run
from tests.data.made_images import CORRUPT, encoded, write_folder

PREDICT = "file/predict.yaml"
PLUGINS = "plugins=[tests.tiny]"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images of the digits as PNG files, in the order of the test loader."""
    folder = tmp_path_factory.mktemp("pictures")
    images: Any = load_digits(DataSettings(), Path()).test
    for number, pixels in enumerate(images.images):
        Image.fromarray(pixels[0].numpy()).save(folder / f"{number:03d}.png")
    return folder


def evaluated(data: Any, network: Any) -> Tensor:
    """Return the probabilities that the evaluation path gives, image by image."""
    with torch.inference_mode():
        return torch.cat([network(images).softmax(1) for images, _ in data.test_dataloader()])


def of_digits(directory: RunDirectory, files: Files) -> Tensor:
    data = build_data(directory.settings().data, data_dir=Path(), seed=0)
    data.setup()
    return evaluated(data, load(files.packed))


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


# --- the same as the evaluation


@pytest.mark.parametrize(
    ("kind", "runtime"),
    [("packed", "auto"), ("packed", "openvino"), ("packed", "onnxruntime"), ("onnx", "auto"), ("onnx", "onnxruntime")],
)
def test_digits_are_predicted_as_they_are_evaluated(
    digits_run: RunDirectory, files: Files, pictures: Path, here: Here, kind: str, runtime: str
) -> None:
    typed = (f"model={getattr(files, kind)}", f"images={pictures}", f"runtime={runtime}", "top=10", "json=true")
    code, out, err = here(PREDICT, predict, *typed, PLUGINS)
    assert code == ExitCode.DONE, err
    expected = of_digits(digits_run, files)
    found = lines(out)
    assert [Path(line["image"]).name for line in found] == [f"{number:03d}.png" for number in range(359)]
    for line, shares in zip(found, expected, strict=True):
        of_classes = {row["class"]: row["probability"] for row in line["top"]}
        assert len(of_classes) == 10
        for label, share in enumerate(shares.tolist()):
            assert of_classes[str(label)] == pytest.approx(share, abs=1e-5)
        assert line["class"] == line["top"][0]["class"]
        assert line["probability"] == max(of_classes.values())
        assert of_classes[str(int(shares.argmax()))] == pytest.approx(line["probability"], abs=1e-5)
    assert len({line["class"] for line in found}) >= 8


def test_the_classes_score_what_the_record_says(
    digits_run: RunDirectory, files: Files, pictures: Path, here: Here
) -> None:
    _, out, _ = here(PREDICT, predict, f"model={files.packed}", f"images={pictures}", "json=true", PLUGINS)
    labels: Any = load_digits(DataSettings(), Path()).test
    right = [line["class"] == str(label) for line, label in zip(lines(out), labels.labels.tolist(), strict=True)]
    assert 100 * np.mean(right) == pytest.approx((digits_run.record() or {})["metrics"]["test/top1"])


def test_int8_agrees_but_for_rounding(digits_run: RunDirectory, files: Files, pictures: Path, here: Here) -> None:
    code, out, err = here(PREDICT, predict, f"model={files.int8}", f"images={pictures}", "json=true")
    assert code == ExitCode.DONE, err
    expected = of_digits(digits_run, files).argmax(1).tolist()
    assert np.mean([int(line["class"]) == label for line, label in zip(lines(out), expected, strict=True)]) > 0.97


@pytest.mark.parametrize("storage", ["memory", "stream"])
@pytest.mark.parametrize("image_size", [None, 16])
def test_colour_files_are_predicted_as_they_are_evaluated(
    storage: str, image_size: int | None, tmp_path: Path, here: Here
) -> None:
    size = (24, 24) if image_size is None else (40, 30)
    root = write_folder(tmp_path / "set", {"train": 5, "test": 9}, size, "JPEG")
    settings = DataSettings(
        name="image_folder", root=str(root), storage=storage, image_size=image_size, workers=0, batch_size=2
    )
    data = build_data(settings, data_dir=Path(), seed=0)
    data.setup()
    torch.manual_seed(0)
    network = build_model(ModelSettings(name="resnet20"), channels=3, size=data.size, classes=2).eval()
    architecture = Architecture(model={"name": "resnet20"}, channels=3, size=data.size, classes=data.classes)
    save(
        ternlab.quantize(network, "tga"),
        tmp_path / "net",
        architecture=architecture,
        preprocessing=data.preprocessing(),
    )
    code, out, err = here(PREDICT, predict, f"model={tmp_path / 'net'}", f"images={root / 'test'}", "json=true")
    assert code == ExitCode.DONE, err
    expected = evaluated(data, load(tmp_path / "net"))
    for line, shares in zip(lines(out), expected, strict=True):
        label = data.classes.index(line["class"])
        assert line["probability"] == pytest.approx(float(shares[label]), abs=1e-5)
    # All differ, so that a wrong order would show.
    assert len({line["probability"] for line in lines(out)}) == 18


# --- what is printed


def test_the_table(files: Files, pictures: Path, here: Here) -> None:
    typed = (f"model={files.packed}", "images=[003.png,007.png]", PLUGINS)
    code, out, err = here(PREDICT, predict, *typed, "top=3", folder=pictures)
    assert code == ExitCode.DONE
    assert err.count("\n") == 1 and err.startswith("runtime: torch float32; ")
    _, in_json, _ = here(PREDICT, predict, *typed, "top=3", "json=true", folder=pictures)
    head, *rows = out.splitlines()
    assert head.split() == ["class", "probability"] * 3 + ["image"]
    assert [row.split() for row in rows] == [
        [word for best in line["top"] for word in (best["class"], f"{100 * best['probability']:.2f}", "%")]
        + [line["image"]]
        for line in lines(in_json)
    ]
    assert [line["image"] for line in lines(in_json)] == ["003.png", "007.png"]
    assert len({row.index("%") for row in rows}) == 1


def test_one_class_is_the_default(files: Files, pictures: Path, here: Here) -> None:
    _, out, _ = here(PREDICT, predict, f"model={files.packed}", f"images={pictures}/000.png", PLUGINS, "json=true")
    (line,) = lines(out)
    assert line["top"] == [{"class": line["class"], "probability": line["probability"]}]
    assert 0 < line["probability"] <= 1


def test_names_cannot_command_the_terminal(files: Files, pictures: Path, tmp_path: Path, here: Here) -> None:
    name = "a\x1b[2J\nb.png"
    (tmp_path / name).write_bytes((pictures / "000.png").read_bytes())
    (tmp_path / "\x1b.png").write_bytes(CORRUPT)
    code, out, err = here(PREDICT, predict, f"model={files.packed}", f"images={tmp_path}", PLUGINS)
    assert code == ExitCode.FAILED
    assert "\x1b" not in out + err
    assert out.count("\n") == 2
    _, out, _ = here(PREDICT, predict, f"model={files.packed}", f"images={tmp_path}", PLUGINS, "json=true")
    assert {Path(line["image"]).name for line in lines(out)} == {name, "\x1b.png"}


# --- broken images


def test_broken_images_are_named_and_left_out(files: Files, pictures: Path, tmp_path: Path, here: Here) -> None:
    data = (pictures / "000.png").read_bytes()
    for name, content in {"a.png": data, "b.png": CORRUPT, "c.png": data[:60], "d.png": b"", "e.png": data}.items():
        (tmp_path / name).write_bytes(content)
    typed = (f"model={files.packed}", f"images={tmp_path}", PLUGINS, "batch_size=3")
    code, out, err = here(PREDICT, predict, *typed)
    assert code == ExitCode.FAILED
    assert [line.split("/")[-1] for line in out.splitlines()[1:]] == ["a.png", "e.png"]
    for name in ("b.png", "c.png", "d.png"):
        assert f"{tmp_path / name}: " in err
    assert err.endswith("error: 3 of 5 images could not be read\n")
    assert "Traceback" not in err
    code, out, _ = here(PREDICT, predict, *typed, "json=true")
    assert code == ExitCode.FAILED
    found = lines(out)
    assert [sorted(line) for line in found] == [
        ["class", "image", "probability", "top"],
        *[["error", "image"]] * 3,
        ["class", "image", "probability", "top"],
    ]
    assert found[0]["probability"] == pytest.approx(found[4]["probability"], abs=1e-6)


def test_all_images_may_be_broken(files: Files, tmp_path: Path, here: Here) -> None:
    (tmp_path / "a.png").write_bytes(CORRUPT)
    code, out, err = here(PREDICT, predict, f"model={files.packed}", f"images={tmp_path}", PLUGINS, "json=true")
    assert code == ExitCode.FAILED
    assert [sorted(line) for line in lines(out)] == [["error", "image"]]
    assert "error: 1 of 1 images could not be read" in err


def test_colour_becomes_grey_where_the_network_takes_grey(
    files: Files, pictures: Path, tmp_path: Path, here: Here
) -> None:
    grey = Image.open(pictures / "000.png")
    grey.save(tmp_path / "a.png")
    grey.convert("RGB").save(tmp_path / "b.png")
    grey.convert("RGBA").save(tmp_path / "c.png")
    Image.merge("RGB", [grey, grey.point(lambda value: value // 2), grey]).save(tmp_path / "d.png")
    code, out, err = here(PREDICT, predict, f"model={files.packed}", f"images={tmp_path}", PLUGINS, "json=true")
    assert code == ExitCode.DONE, err
    shares = [line["probability"] for line in lines(out)]
    assert shares[1] == shares[2] == pytest.approx(shares[0], abs=1e-6)
    assert shares[3] != pytest.approx(shares[0], abs=1e-3)


def test_grey_becomes_colour_where_the_network_takes_colour(tmp_path: Path) -> None:
    about = ModelSignature(
        tmp_path,
        False,
        "",
        ("a", "b"),
        Preprocessing(channels=3, size=4, resize=4, crop=4, mean=(0,) * 3, std=(1,) * 3),
    )
    seen: list[Any] = []

    def look(images: Any) -> Any:
        seen.append(images)
        return np.zeros((len(images), 2), np.float32)

    (tmp_path / "a.png").write_bytes(encoded(1, (4, 4), mode="L"))
    list(predictions([str(tmp_path / "a.png")], Runtime("", look), about, top=1, batch_size=1))
    pixels = np.asarray(Image.open(io.BytesIO(encoded(1, (4, 4), mode="L"))), np.float32) / 255
    np.testing.assert_allclose(seen[0][0], np.stack([pixels] * 3), atol=1e-6)


# --- which images


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_folders_patterns_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "x/b.png", "x/a.JPG", "x/sub/c.tif", "x/notes.txt", "x/.hidden.png", "odd.bin", "10.png", "9.png")
    make(tmp_path, "x/[1].png")
    assert list(listed(["x"])) == ["x/[1].png", "x/a.JPG", "x/b.png", "x/sub/c.tif"]
    assert list(listed(["x/"])) == ["x/[1].png", "x/a.JPG", "x/b.png", "x/sub/c.tif"]
    assert list(listed(["*.png"])) == ["10.png", "9.png"]
    assert list(listed(["x/**/*.tif", "./odd.bin"])) == ["x/sub/c.tif", "./odd.bin"]
    assert list(listed([str(tmp_path / "x" / "*.png")])) == [f"{tmp_path}/x/[1].png", f"{tmp_path}/x/b.png"]
    # A file is taken before a pattern that it looks like.
    assert list(listed(["x/[1].png"])) == ["x/[1].png"]


def test_every_suffix_of_the_data_loader_is_known(tmp_path: Path) -> None:
    make(tmp_path, *(f"a{suffix}" for suffix in IMAGE_SUFFIXES))
    assert {Path(name).suffix for name in listed([str(tmp_path)])} == IMAGE_SUFFIXES


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_names_come_from_standard_input(
    files: Files, pictures: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(monkeypatch, b"001.png\r\n\nmissing.png\n000.png")
    code, out, err = here(PREDICT, predict, f"model={files.packed}", "images=-", PLUGINS, "json=true", folder=pictures)
    assert code == ExitCode.FAILED
    first, missing, last = lines(out)
    assert (first["image"], last["image"]) == ("001.png", "000.png")
    assert missing == {"image": "missing.png", "error": "No such file or directory"}
    assert "missing.png: No such file or directory\nerror: 1 of 3 images could not be read\n" in err


def test_names_that_are_not_utf8(files: Files, pictures: Path, tmp_path: Path, here: Here) -> None:
    name = os.path.join(os.fsencode(tmp_path), b"\xff.png")
    Path(os.fsdecode(name)).write_bytes((pictures / "000.png").read_bytes())
    for more in ([], ["json=true"]):
        code, out, err = here(PREDICT, predict, f"model={files.packed}", f"images={tmp_path}", PLUGINS, *more)
        assert code == ExitCode.DONE, err
        assert "udcff.png" in out


def test_numbers_are_names(files: Files, pictures: Path, tmp_path: Path, here: Here) -> None:
    make(tmp_path, "2024/a.png")
    (tmp_path / "2024" / "a.png").write_bytes((pictures / "000.png").read_bytes())
    code, out, err = here(
        PREDICT, predict, f"model={files.packed}", "images=2024", PLUGINS, "json=true", folder=tmp_path
    )
    assert code == ExitCode.DONE, err
    assert [line["image"] for line in lines(out)] == ["2024/a.png"]


# --- a million files


class Watched:
    """Names of one file, which counts how many were asked for."""

    def __init__(self, name: Path, count: int) -> None:
        self.name, self.count, self.asked = str(name), count, 0

    def __iter__(self) -> Iterator[str]:
        for _ in range(self.count):
            self.asked += 1
            yield self.name


def test_batches_are_read_when_they_are_wanted(files: Files, pictures: Path) -> None:
    ternlab_tiny = torch_runtime(load(files.packed), bfloat16=False)
    names = Watched(pictures / "000.png", 1000)
    found = predictions(names, ternlab_tiny, read_signature(files.packed), top=1, batch_size=8)
    assert [len(next(found)), names.asked] == [8, 8]
    assert [len(next(found)), names.asked] == [8, 16]


def test_memory_does_not_grow_with_the_images(files: Files, pictures: Path) -> None:
    runtime, about = torch_runtime(load(files.packed), bfloat16=False), read_signature(files.packed)

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in predictions(Watched(pictures / "000.png", count), runtime, about, top=1, batch_size=8):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(400)
    # 1,200 more results would take 400 bytes each; what the collector leaves for later is some 60,000.
    assert peak(1600) < peak(400) + 150_000


def test_each_batch_is_printed_when_it_is_there(files: Files, pictures: Path) -> None:
    command = [sys.executable, str(ROOT / "src" / "predict.py"), f"model={files.packed}", "images=-", "json=true"]
    process = subprocess.Popen(
        [*command, PLUGINS, "batch_size=2"],
        env={**os.environ, "PYTHONPATH": PATHS, "PYTHONUNBUFFERED": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    # Lines that are kept back would be waited for without an end.
    alarm = threading.Timer(LONG, process.kill)
    alarm.start()
    for number in range(2):
        process.stdin.write(f"{pictures}/00{2 * number}.png\n{pictures}/00{2 * number + 1}.png\n")
        process.stdin.flush()
        found = [json.loads(process.stdout.readline())["image"][-7:] for _ in range(2)]
        assert found == [f"00{2 * number}.png", f"00{2 * number + 1}.png"]
    process.stdin.close()
    assert process.stdout.read() == ""
    assert process.wait(LONG) == ExitCode.DONE
    alarm.cancel()


# --- what is refused


REFUSED: dict[str, tuple[list[str], list[str]]] = {
    "no model": (["images=pictures"], ["model"]),
    "no images": (["model=PACKED"], ["images"]),
    "missing file": (["model=nothing.tern", "images=pictures"], ["nothing.tern: cannot be read"]),
    "no network": (["model=pictures/000.png", "images=pictures"], ["000.png: is not", "python src/export.py"]),
    "a folder": (["model=pictures", "images=pictures"], ["pictures: "]),
    "missing image": (["model=PACKED", "images=nothing.png"], ["images = nothing.png: there is no such file"]),
    "missing among others": (["model=PACKED", "images=[pictures,gone]"], ["images = gone: there is no such file"]),
    "no fit": (["model=PACKED", "images=pictures/*.gif"], ["no file matches this pattern"]),
    "empty folder": (["model=PACKED", "images=empty"], ["images = empty: no images found", ".png"]),
    "no name": (["model=PACKED", "images=[]"], ["images"]),
    "empty name": (["model=PACKED", "images=''"], ["images"]),
    "too many classes": (["model=PACKED", "images=pictures", "top=11"], ["top = 11", "10 classes", "top=10"]),
    "no classes": (["model=PACKED", "images=pictures", "top=0"], ["top = 0"]),
    "no batch": (["model=PACKED", "images=pictures", "batch_size=0"], ["batch_size = 0"]),
    "unknown runtime": (["model=PACKED", "images=pictures", "runtime=tensorflow"], ["runtime = tensorflow"]),
    "onnx in torch": (["model=ONNX", "images=pictures", "runtime=torch"], ["torch cannot run ONNX"]),
    "unknown key": (["model=PACKED", "image=pictures"], ["image", "did you mean images"]),
    "unknown plugin": (["model=PACKED", "images=pictures", "plugins=[tests.nothing]"], ["tests.nothing"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_with_words_that_help(
    case: str, files: Files, pictures: Path, tmp_path: Path, here: Here
) -> None:
    typed, words = REFUSED[case]
    (tmp_path / "pictures").symlink_to(pictures)
    (tmp_path / "empty").mkdir()
    names = {"model=PACKED": f"model={files.packed}", "model=ONNX": f"model={files.onnx}"}
    plugins = [] if case == "unknown plugin" else [PLUGINS]
    code, out, err = here(PREDICT, predict, *(names.get(word, word) for word in typed), *plugins, folder=tmp_path)
    assert code == ExitCode.BAD_SETTINGS, err
    assert out == ""
    assert "Traceback" not in err
    for word in words:
        assert word in err, err


def test_standard_input_without_names_is_refused(files: Files, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"\n")
    code, _, err = here(PREDICT, predict, f"model={files.packed}", "images=-", PLUGINS)
    assert code == ExitCode.BAD_SETTINGS
    assert "no names on standard input" in err


@pytest.mark.parametrize("missing", ["architecture", "preprocessing"])
def test_networks_that_do_not_say_their_input_are_refused(missing: str, files: Files, tmp_path: Path) -> None:
    about: dict[str, Any] = {
        "architecture": Architecture(model={"name": "tiny"}, channels=1, size=8, classes=("a",)),
        "preprocessing": ternlab.info(files.packed)["preprocessing"],
    }
    network = ternlab.quantize(torch.nn.Linear(4, 2), "tga")
    save(network, tmp_path / "net", **{**about, missing: None})
    with pytest.raises(SettingsError, match=f"does not include its {missing}"):
        read_signature(tmp_path / "net")


@pytest.mark.parametrize(
    "change",
    [
        {"interpolation": "nearest"},
        {"channels": 2},
        {"channels": 3},
        {"size": 9},
        {"crop": 4},
        {"resize": 4},
        {"std": [0.0]},
        {"mean": [0.1, 0.2]},
        {"sharpen": True},
        {"size": 16, "crop": 16, "resize": 16},
    ],
)
def test_a_preparation_that_is_not_known_is_refused(change: dict[str, Any], files: Files, tmp_path: Path) -> None:
    found = ternlab.info(files.packed)
    network = ternlab.quantize(torch.nn.Linear(4, 2), "tga")
    architecture = Architecture.model_validate(found["architecture"])
    save(network, tmp_path / "net", architecture=architecture, preprocessing={**found["preprocessing"], **change})
    with pytest.raises(TernlabError, match=r"its header is invalid|preprocessing does not match") as error:
        read_signature(tmp_path / "net")
    assert error.value.exit_code == ExitCode.BAD_SETTINGS


@pytest.mark.parametrize(("value", "words"), [(np.nan, "is not finite"), (np.inf, "is not finite")])
def test_outputs_that_are_not_numbers_stop(value: float, words: str, files: Files, pictures: Path) -> None:
    runtime = Runtime("broken", lambda images: np.full((len(images), 10), value, np.float32))
    with pytest.raises(TernlabError, match=words):
        list(predictions([str(pictures / "000.png")], runtime, read_signature(files.packed), top=1, batch_size=1))


def test_a_network_with_other_outputs_than_classes_is_refused(files: Files, pictures: Path) -> None:
    runtime = Runtime("other", lambda images: np.zeros((len(images), 9), np.float32))
    with pytest.raises(TernlabError, match="has 10 class names for 9 outputs"):
        list(predictions([str(pictures / "000.png")], runtime, read_signature(files.packed), top=1, batch_size=1))


def test_a_network_of_a_plugin_is_asked_for(files: Files, pictures: Path, tmp_path: Path) -> None:
    typed = (f"model={files.packed}", f"images={pictures}")
    # A process in which it was not registered yet.
    code, out, err = warm_command.run(tmp_path, *typed, script="predict.py")
    assert (code, out) == (ExitCode.BAD_SETTINGS, "")
    assert "holds the network tiny, which is not registered\n  instead: plugins=[" in err


def test_mistakes_are_answered_before_torch_is_imported(files: Files, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ternlab.commands.entry import run;"
        "from ternlab.commands.predict import main;"
        f"code = run(Path({str(ROOT / 'conf' / 'file' / 'predict.yaml')!r}), main);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"model={files.onnx}", "images=gone"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitCode.BAD_SETTINGS
    assert "images = gone: there is no such file" in done.stderr


def test_help_shows_examples(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "--help", script="predict.py")
    assert code == ExitCode.DONE
    assert "python src/predict.py model=FILE images=photo.jpg" in out
    assert "batch_size: 32" in out
