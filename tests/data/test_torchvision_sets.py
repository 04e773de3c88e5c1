"""Public sets: torchvision's real download code against tiny archives on a local server."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import signal
import socket
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from torchvision import datasets

from ternlab.core.errors import RunInterrupted, SettingsError
from ternlab.core.signals import StopRequest
from ternlab.data.module import ImageDataModule
from ternlab.data.settings import DataSettings
from ternlab.data.torchvision_sets import prepare

Ready = Callable[..., ImageDataModule]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        self.server.asked.append(args[1])  # type: ignore[attr-defined]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Serve a folder; yield its address, the folder, and the list of requests."""
    served = tmp_path / "served"
    served.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=served)) as running:
        running.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/", served, running.asked  # type: ignore[attr-defined]
        running.shutdown()
        thread.join()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _cifar_files() -> dict[str, bytes]:
    draw = np.random.default_rng(0)
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    made: dict[str, Any] = {
        name: {"data": draw.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": [n % 10 for n in range(20)]}
        for name in names
    }
    made["batches.meta"] = {"label_names": [f"class{n}" for n in range(10)]}
    return {name: pickle.dumps(value) for name, value in made.items()}


@pytest.fixture
def cifar(server: tuple[str, Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Serve a CIFAR-10 of 100 + 20 images."""
    files = _cifar_files()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (server[1] / "cifar.tar.gz").write_bytes(packed.getvalue())
    kind = datasets.CIFAR10
    monkeypatch.setattr(kind, "url", server[0] + "cifar.tar.gz")
    monkeypatch.setattr(kind, "tgz_md5", _md5(packed.getvalue()))
    monkeypatch.setattr(kind, "train_list", [[f"data_batch_{n}", _md5(files[f"data_batch_{n}"])] for n in range(1, 6)])
    monkeypatch.setattr(kind, "test_list", [["test_batch", _md5(files["test_batch"])]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": _md5(files["batches.meta"])})
    return files


def test_cifar10_is_fetched_once_and_read(ready: Ready, cifar: dict[str, bytes], server: Any, tmp_path: Path) -> None:
    data = ready(name="cifar10", val_fraction=0.1, batch_size=30, flip=True, crop_padding=4, eval_batch_size=20)
    assert (data.train_count, data.val_count, data.test_count, data.size, data.channels) == (90, 10, 20, 32, 3)
    assert data.classes == tuple(f"class{n}" for n in range(10))
    images, labels = next(iter(data.test_dataloader()))
    raw = pickle.loads(cifar["test_batch"])["data"].reshape(-1, 3, 32, 32)
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    assert (images * std + mean).mul(255).round().to(torch.uint8).tolist() == raw.tolist()
    assert labels.tolist() == [n % 10 for n in range(20)]
    asked = len(server[2])
    ready(name="cifar10", download=False)
    assert len(server[2]) == asked
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar10"], "nothing is left beside"


@pytest.mark.parametrize("kept", [0, 1000])
def test_failing_download_leaves_nothing_that_is_trusted_later(
    ready: Ready, cifar: dict[str, bytes], server: Any, tmp_path: Path, kept: int
) -> None:
    archive = server[1] / "cifar.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:kept])
    with pytest.raises(SettingsError, match=r"data=cifar10: is not in .*cifar10 .*the download failed"):
        ready(name="cifar10")
    assert not (tmp_path / "data" / "cifar10").exists() and not any((tmp_path / "data").iterdir())
    archive.write_bytes(whole)
    assert ready(name="cifar10").test_count == 20


def test_unreachable_network_is_one_message(ready: Ready, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    with pytest.raises(SettingsError) as caught:
        ready(name="cifar10")
    text = str(caught.value)
    assert "download failed" in text and str(tmp_path / "data" / "cifar10") in text and "data.root=FOLDER" in text


def test_archive_that_lies_there_is_used_without_a_network(
    ready: Ready, cifar: dict[str, bytes], server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "cifar-10-python.tar.gz").write_bytes((server[1] / "cifar.tar.gz").read_bytes())
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/none")
    assert ready(name="cifar10", root=str(folder)).test_count == 20
    assert not server[2]


def test_damaged_file_is_refused(ready: Ready, cifar: dict[str, bytes], tmp_path: Path) -> None:
    ready(name="cifar10")
    file = tmp_path / "data" / "cifar10" / "cifar-10-batches-py" / "data_batch_2"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SettingsError, match=r"are damaged.*\n.*remove"):
        ready(name="cifar10")


def _idx(array: np.ndarray) -> bytes:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


@pytest.mark.parametrize(("name", "kind"), [("mnist", datasets.MNIST), ("fashion_mnist", datasets.FashionMNIST)])
def test_mnist_is_fetched_and_read(
    ready: Ready, server: Any, monkeypatch: pytest.MonkeyPatch, name: str, kind: Any
) -> None:
    draw = np.random.default_rng(0)
    resources, images = [], {}
    for part, count in (("train", 50), ("t10k", 20)):
        images[part] = draw.integers(0, 256, (count, 28, 28))
        for what, data in (("images-idx3", images[part]), ("labels-idx1", np.arange(count) % 10)):
            file = f"{part}-{what}-ubyte.gz"
            (server[1] / file).write_bytes(_idx(data))
            resources.append((file, _md5(_idx(data))))
    monkeypatch.setattr(kind, "mirrors", [server[0]])
    monkeypatch.setattr(kind, "resources", resources)
    data = ready(name=name, eval_batch_size=20, val_fraction=0.2)
    assert (data.train_count, data.val_count, data.test_count, data.size, data.channels) == (40, 10, 20, 28, 1)
    found = next(iter(data.test_dataloader()))[0] * data.std[0] + data.mean[0]
    assert found.mul(255).round().to(torch.uint8)[:, 0].tolist() == images["t10k"].tolist()


def test_svhn_is_fetched_and_its_ten_is_a_zero(ready: Ready, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    parts = {}
    for part in ("train", "test"):
        file, path = f"{part}_32x32.mat", server[1] / f"{part}.mat"
        labels = np.arange(1, 11, dtype=np.uint8).repeat(2)[:, None]
        scipy.io.savemat(path, {"X": draw.integers(0, 256, (32, 32, 3, 20), dtype=np.uint8), "y": labels})
        parts[part] = [f"{server[0]}{part}.mat", file, _md5(path.read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", parts)
    data = ready(name="svhn", eval_batch_size=20, val_fraction=0.0)
    assert next(iter(data.test_dataloader()))[1].tolist() == [n % 10 for n in range(1, 11) for _ in range(2)]
    assert data.size == 32 and data.classes == tuple("0123456789")


def test_prepare_without_download_does_not_try(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"data\.download is false"):
        prepare(DataSettings(name="svhn", download=False), tmp_path / "svhn")
    assert not (tmp_path / "svhn").exists()


def test_a_download_that_does_not_go_on_can_be_stopped(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/cifar.tar.gz")

        def stop_when_asked() -> None:
            with silent.accept()[0]:
                os.kill(os.getpid(), signal.SIGTERM)
                done.wait(60)

        done = threading.Event()
        thread = threading.Thread(target=stop_when_asked)
        thread.start()
        with StopRequest(), pytest.raises(RunInterrupted, match="SIGTERM"):
            ready(name="cifar10")
        done.set()
        thread.join()
    assert not any((tmp_path / "data").iterdir()), "nothing is left beside"
