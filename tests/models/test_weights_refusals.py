"""Weights that do not fit or cannot be read: what the message says, and that nothing is executed."""

from __future__ import annotations

import math
import os
import pickle
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ternlab.core.errors import SettingsError
from ternlab.models.build import build_model
from ternlab.models.settings import ModelSettings
from ternlab.models.weights import load_weights
from ternlab.models.weights_read import read_file


def refusal(model: nn.Module, path: Path, **more: Any) -> str:
    """Return the message; the network must be untouched."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(SettingsError) as caught:
        load_weights(model, str(path), name="resnet20", **more)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return str(caught.value)


def saved(tmp_path: Path, content: object) -> Path:
    torch.save(content, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_other_classes_name_the_layer_the_shapes_and_the_remedy(network: nn.Module, tmp_path: Path) -> None:
    state = network.state_dict() | {"fc.weight": torch.zeros(100, 64), "fc.bias": torch.zeros(100)}
    message = refusal(network, saved(tmp_path, state))
    assert message.splitlines() == [
        f"model.weights = {tmp_path / 'a.pt'}: the weights do not fit the network",
        "  different shape: fc.weight (given (100, 64), needed (10, 64)), fc.bias (given (100,), needed (10,))",
        "  instead: 'model.weights_skip=[fc.*]' (these entries are not loaded)",
    ]


def test_missing_and_unexpected_entries_are_told_apart(network: nn.Module, tmp_path: Path) -> None:
    state = network.state_dict()
    state["head.weight"] = state.pop("fc.weight")
    message = refusal(network, saved(tmp_path, state))
    assert "\n  missing from the file: fc.weight\n" in message
    assert "\n  unexpected in the file: head.weight\n" in message
    assert "weights_skip=[fc.weight,head.*]" in message


def test_what_it_says_to_skip_leaves_the_entries_that_fit(network: nn.Module, tmp_path: Path) -> None:
    """An extra entry of a layer (a pruning mask) must not cost the layer its trained weights."""
    trained = {name: torch.full_like(value, 3) for name, value in network.state_dict().items()}
    path = saved(tmp_path, trained | {"fc.weight_mask": torch.ones(10, 64), "conv1.scale": torch.ones(1)})
    remedy = refusal(network, path).partition("instead: ")[2]
    (word,) = shlex.split(remedy.partition(" (")[0])
    assert word == "model.weights_skip=[fc.weight_mask,conv1.scale]"
    load_weights(network, str(path), name="resnet20", skip=word.partition("=")[2].strip("[]").split(","))
    assert all(torch.equal(value, trained[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value: float, network: nn.Module, tmp_path: Path) -> None:
    state = network.state_dict()
    state["fc.bias"] = torch.full((10,), value)
    message = refusal(network, saved(tmp_path, state))
    assert "of fc.bias in the file are NaN or infinite\n" in message and "optim.lr" not in message


def test_superfluous_entries_are_named_one_by_one_where_a_pattern_would_drop_good_ones(
    network: nn.Module, tmp_path: Path
) -> None:
    state = network.state_dict() | {
        "fc.extra": torch.zeros(1),
        "alpha": torch.zeros(1),
        "layer1.0.beta": torch.zeros(1),
    }
    state |= {"criterion.weight": torch.zeros(3), "criterion.bias": torch.zeros(3)}
    path = saved(tmp_path, state)
    message = refusal(network, path)
    skips = "fc.extra,alpha,layer1.0.beta,criterion.*"
    assert message.endswith(f"\n  instead: 'model.weights_skip=[{skips}]' (these entries are not loaded)")
    other = build_model(ModelSettings(name="resnet20"), channels=3, size=32, classes=10)
    load_weights(other, str(path), name="resnet20", skip=skips.split(","))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())


def test_values_that_are_not_finite_are_named(network: nn.Module, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in network.state_dict().items()}
    state["layer2.1.conv2.weight"][0, 0, 0, :2] = torch.tensor([float("nan"), float("inf")])
    path = saved(tmp_path, state)
    message = refusal(network, path)
    assert "2 of the 9,216 values of layer2.1.conv2.weight in the file are NaN or infinite" in message
    assert "instead: model.weights=FILE (another file), or 'model.weights_skip=[layer2.1.conv2.weight]'" in message
    load_weights(network, str(path), name="resnet20", skip=["layer2.1.conv2.weight"])
    state = network.state_dict() | {"bn1.running_var": torch.full((16,), float("nan"))}
    assert "16 of the 16 values of bn1.running_var" in refusal(network, saved(tmp_path, state))


def test_a_mask_of_infinity_is_no_damage(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    load_weights(model, str(saved(tmp_path, model.state_dict())), name="other")


def test_long_lists_are_cut_and_many_layers_mean_another_network(network: nn.Module, tmp_path: Path) -> None:
    state = {name: v for name, v in network.state_dict().items() if not name.startswith("layer3")}
    message = refusal(network, saved(tmp_path, state))
    missing = [line for line in message.splitlines() if "missing" in line]
    # layer3 has 6 convolutions and 6 BatchNorms of 4 entries (the batch counter is not needed).
    assert missing[0].count(",") == 10 and missing[0].endswith(", and 20 more")
    assert "model.name=NAME" in message and "weights_skip" not in message


def test_exactly_ten_entries_are_listed_without_more(network: nn.Module, tmp_path: Path) -> None:
    gone = [name for name in network.state_dict() if name.startswith("layer1") and "num" not in name][:10]
    state = {name: v for name, v in network.state_dict().items() if name not in gone}
    message = refusal(network, saved(tmp_path, state))
    assert "more" not in message and all(name in message for name in gone)


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [("fcc.*", "fc.*"), ("layer1.0.conv3.*", "layer1.0.conv"), ("zzz", "model.weights_skip=[conv1.*]")],
)
def test_pattern_that_matches_nothing(pattern: str, instead: str, network: nn.Module, tmp_path: Path) -> None:
    message = refusal(network, saved(tmp_path, network.state_dict()), skip=["conv1.*", pattern])
    assert message.startswith(f"model.weights_skip = {pattern}: the pattern matches no entry")
    assert instead in message.split("instead: ")[1]


def test_skipping_everything_is_refused(network: nn.Module, tmp_path: Path) -> None:
    assert "nothing would be loaded" in refusal(network, saved(tmp_path, network.state_dict()), skip=["*"])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"epoch": 3, "optimizer": {"lr": 0.1}}, "its entries epoch, optimizer are not tensors"),
        ({}, "it is empty"),
        ([torch.zeros(1)], "it holds a list"),
        (torch.zeros(1), "it holds a Tensor"),
        ({"state_dict": {"conv1.weight": torch.zeros(1), "note": "x"}}, "its entries note are not tensors"),
    ],
)
def test_files_without_a_state_dict(content: object, found: str, network: nn.Module, tmp_path: Path) -> None:
    message = refusal(network, saved(tmp_path, content))
    assert "not a state dict" in message and found in message


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_torn_file(kind: str, kept: float, network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    state: dict[str, Tensor] = network.state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    message = refusal(network, path)
    assert message.startswith(f"model.weights = {path}: the file is ")
    assert "instead: " in message


def test_damage_inside_an_archive_is_found(network: nn.Module, tmp_path: Path) -> None:
    path = saved(tmp_path, network.state_dict())
    whole = bytearray(path.read_bytes())
    whole[64:400] = bytes(336)
    path.write_bytes(whole)
    assert "damaged" in refusal(network, path)


class Payload:
    """Creates a file when it is unpickled by Python's own rules."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("kind", ["zip", "old", "bare pickle"])
def test_pickled_code_is_refused_and_not_executed(kind: str, network: nn.Module, tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "a.pt"
    content = {"state_dict": network.state_dict(), "callbacks": Payload(marker)}
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(Payload(marker), protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    message = refusal(network, path)
    assert "Python objects" in message and "safetensors" in message
    assert not marker.exists()
    # The payload is a real one: the unguarded way of loading executes it.
    if kind == "bare pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert marker.exists()


def test_numpy_values_beside_the_weights_are_ignored(network: nn.Module, tmp_path: Path) -> None:
    beside = {"best": np.float64(91.7), "epoch": np.int64(3), "mean": np.ones(3), "rng": np.array(["a"])}
    path = saved(tmp_path, {"state_dict": network.state_dict(), **beside})
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    model = build_model(ModelSettings(name="resnet20"), channels=3, size=32, classes=10)
    allowed = set(torch.serialization.get_safe_globals())
    load_weights(model, str(path), name="resnet20")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in network.state_dict().items())
    # Nothing stays allowed, and what is in the state dict itself is not ignored.
    assert set(torch.serialization.get_safe_globals()) == allowed
    message = refusal(network, saved(tmp_path, network.state_dict() | {"mean": np.ones(3)}))
    assert "its entries mean are not tensors" in message


@pytest.mark.parametrize("path", ["/nope.pt", "/nope/nope.pt", "nope.pt", "nope/nope.pt"])
def test_missing_file_without_neighbours_is_answered_with_what_to_type(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        read_file(path)
    found, _, instead = str(caught.value).partition("\n  instead: ")
    assert found == f"model.weights = {path}: no such file"
    assert instead.startswith("model.weights=FILE (")
    assert ("does not exist either" in instead) == ("nope/" in path)
    assert ("relative paths start at" in instead) == (not path.startswith("/"))


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "resnet20.pt").touch()
    # An image is no neighbour, however near its name is.
    (tmp_path / "resnet2.png").touch()
    with pytest.raises(SettingsError, match=r"(?s)no such file.*instead: model\.weights=.*/resnet20\.pt$"):
        read_file(str(tmp_path / "resnet2.pt"))
