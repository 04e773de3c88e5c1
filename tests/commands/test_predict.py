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
from ternlab.core.errors import ExitCode
from ternlab.data.digits import load as load_digits
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
from tests.commands.conftest import Files, Here
from tests.commands.predict_helpers import PLUGINS, PREDICT, lines, pictures, stdin
from tests.commands.run_command import LONG, PATHS, ROOT, run
from tests.data.made_images import CORRUPT, encoded, write_folder

__all__ = ["pictures"]


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def evaluated(data: Any, network: Any) -> Tensor:
    """Return the probabilities that the evaluation path gives, image by image."""
    with torch.inference_mode():
        return torch.cat([network(images).softmax(1) for images, _ in data.test_dataloader()])


def of_digits(directory: RunDirectory, files: Files) -> Tensor:
    data = build_data(directory.settings().data, data_dir=Path(), seed=0)
    data.setup()
    return evaluated(data, load(files.packed))


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


def test_help_shows_examples(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "--help", script="predict.py")
    assert code == ExitCode.DONE
    assert "python src/predict.py model=FILE images=photo.jpg" in out
    assert "batch_size: 32" in out
