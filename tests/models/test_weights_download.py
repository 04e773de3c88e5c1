"""torchvision's weights through the real download code, from a server in this process."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights

from ternlab.core.errors import SettingsError
from ternlab.models.build import build_model
from ternlab.models.registry import model_settings
from ternlab.models.settings import ModelSettings
from ternlab.models.weights import load_weights
from ternlab.models.weights_read import read_torchvision

IMAGENET = model_settings({"name": "resnet18", "stem": "imagenet", "weights": "torchvision"})


class Server:
    """Serves a folder and lists the requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        requests = self.requests

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_args: object) -> None:
                requests.append(self.path)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A file named by its hash, as torchvision's are."""
    torch.manual_seed(5)
    state = torchvision.models.resnet18().state_dict()
    path = tmp_path_factory.mktemp("served") / "a.pth"
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(path.with_name(f"resnet18-{digest[:8]}.pth")), state


@pytest.fixture
def server(published: tuple[Path, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    serving = Server(published[0].parent)
    point_to(serving.url(published[0].name), monkeypatch)
    yield serving
    serving.close()


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", url)


def refusal(settings: ModelSettings, classes: int = 1000, channels: int = 3) -> str:
    with pytest.raises(SettingsError) as caught:
        build_model(settings, channels=channels, size=224, classes=classes)
    return str(caught.value)


def test_downloads_once_and_loads_every_entry(
    server: Server, published: tuple[Path, dict[str, Tensor]], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        model = build_model(IMAGENET, channels=3, size=224, classes=1000)
        assert all(torch.equal(value, published[1][name]) for name, value in model.state_dict().items())
    assert server.requests == [f"/{published[0].name}"]
    # Standard output belongs to the command's answer.
    out, err = capsys.readouterr()
    assert (out, "Downloading" in err) == ("", True)


def test_other_network_shapes_list_what_differs(server: Server) -> None:
    message = refusal(IMAGENET, classes=10)
    assert "different shape: fc.weight (given (1000, 512), needed (10, 512)), fc.bias" in message
    assert "weights_skip=[fc.*]" in message and "stem" not in message
    message = refusal(IMAGENET.model_copy(update={"stem": "small"}))
    assert "conv1.weight (given (64, 3, 7, 7), needed (64, 3, 3, 3))" in message
    assert "weights_skip=[conv1.*]" in message and "model.stem=imagenet" in message
    assert "given (64, 3, 7, 7), needed (64, 1, 7, 7)" in refusal(IMAGENET, channels=1)
    skipping = IMAGENET.model_copy(update={"weights_skip": ("fc.*", "conv1.*")})
    build_model(skipping, channels=1, size=224, classes=10)


def test_wrong_hash_is_refused_and_leaves_no_file(
    server: Server, published: tuple[Path, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server.folder / "resnet18-00000000.pth").write_bytes(published[0].read_bytes())
    url = server.url("resnet18-00000000.pth")
    point_to(url, monkeypatch)
    message = refusal(IMAGENET)
    assert "invalid hash value" in message
    assert f"instead: download {url} to a file, then model.weights=FILE" in message
    assert not list((tmp_path / "cache").rglob("*.p*"))


def test_no_answer_says_how_to_go_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to(server.url("missing-00000000.pth"), monkeypatch)
    assert "HTTP Error 404" in refusal(IMAGENET)
    server.close()
    message = refusal(IMAGENET)
    assert "Connection refused" in message and "model.weights=FILE" in message


def test_torn_cache_file_is_named(server: Server, published: tuple[Path, object], tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "hub" / "checkpoints" / published[0].name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(published[0].read_bytes()[:100_000])
    assert f"instead: delete {cached} and run the command again" in refusal(IMAGENET)
    assert server.requests == []


def test_networks_without_published_weights_are_refused_before_a_download(server: Server) -> None:
    with pytest.raises(SettingsError, match="no weights for resnet20"):
        load_weights(nn.Conv2d(1, 1, 1), "torchvision", name="resnet20")
    assert server.requests == []


def test_the_first_version_is_asked_for_where_there_are_two(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("IMAGENET1K_V1", "IMAGENET1K_V2"):
        monkeypatch.setattr(ResNet50_Weights[version].value, "url", server.url(f"{version}-00000000.pth"))
    with pytest.raises(SettingsError, match="IMAGENET1K_V1-00000000"):
        read_torchvision("resnet50")


def test_a_silent_network_is_given_up_after_a_while(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float | None] = []

    def silent(*_args: object, **_more: object) -> None:
        limits.append(socket.getdefaulttimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", silent)
    assert "TimeoutError: timed out" in refusal(IMAGENET)
    assert limits == [30.0]
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_the_first_version_of_the_weights_is_the_published_accuracy(name: str) -> None:
    # V2 of ResNet-50 and 101 comes from another recipe and must not become the baseline by chance.
    meta = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].meta
    accuracy = {"resnet18": 69.75, "resnet34": 73.31, "resnet50": 76.13, "resnet101": 77.37}[name]
    assert meta["_metrics"]["ImageNet-1K"]["acc@1"] == pytest.approx(accuracy, abs=0.01)
