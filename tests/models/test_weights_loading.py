"""Every route by which weights come into a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ternlab.models.build import build_model
from ternlab.models.registry import model_settings
from ternlab.models.settings import ModelSettings

State = dict[str, Tensor]
Writer = Callable[[State, Path], None]


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def legacy(state: State, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def lightning(state: State, path: Path) -> None:
    """A checkpoint written by Lightning itself, optimizer and loops included."""

    class Task(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = build_model(ModelSettings(), channels=3, size=32, classes=10)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    task = Task()
    task.net.load_state_dict(state)
    trainer = pl.Trainer(logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(path)


WRITERS: dict[str, Writer] = {
    "state dict": torch.save,
    "state dict, old format": legacy,
    "safetensors": lambda state, path: save_file(state, path),
    "DataParallel": lambda state, path: torch.save(prefixed("module.", state), path),
    "compiled in Lightning": lambda state, path: torch.save({"state_dict": prefixed("model._orig_mod.", state)}, path),
    "under net": lambda state, path: torch.save({"net": prefixed("module.", state), "acc": 91.2, "epoch": 9}, path),
    "Lightning checkpoint": lightning,
    "safetensors with prefix": lambda state, path: save_file(prefixed("model.", state), path),
}


def load(path: Path, **settings: Any) -> nn.Module:
    torch.manual_seed(1)
    given = model_settings({"weights": str(path), **settings})
    return build_model(given, channels=3, size=32, classes=10)


def assert_same(model: nn.Module, state: State, but: tuple[str, ...] = ()) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]) != (name in but), name


@pytest.mark.parametrize("route", WRITERS)
def test_route_restores_every_entry(route: str, network: nn.Module, tmp_path: Path) -> None:
    # The name says nothing about the format: the content decides.
    WRITERS[route](network.state_dict(), tmp_path / "weights.bin")
    assert_same(load(tmp_path / "weights.bin"), network.state_dict())


def test_home_folder_is_expanded(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(network.state_dict(), tmp_path / "a.pt")
    assert_same(load(Path("~/a.pt")), network.state_dict())


def test_files_from_before_the_batch_counter(network: nn.Module, tmp_path: Path) -> None:
    old = {name: v for name, v in network.state_dict().items() if "num_batches" not in name}
    torch.save(old, tmp_path / "a.pt")
    assert_same(load(tmp_path / "a.pt"), network.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_are_converted(dtype: torch.dtype, network: nn.Module, tmp_path: Path) -> None:
    state = {n: v.to(dtype) if v.is_floating_point() else v for n, v in network.state_dict().items()}
    torch.save(state, tmp_path / "a.pt")
    model = load(tmp_path / "a.pt")
    assert_same(model, {n: v.float() if v.is_floating_point() else v for n, v in state.items()})
    assert next(model.parameters()).dtype == torch.float32


def test_skipped_entries_keep_their_initialization(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "a.pt")
    model = load(tmp_path / "a.pt", weights_skip=["fc.*", "layer?.0.conv1.weight"])
    kept = ("fc.weight", "fc.bias", *(f"layer{stage}.0.conv1.weight" for stage in (1, 2, 3)))
    assert_same(model, network.state_dict(), but=kept)
    torch.manual_seed(1)
    fresh = build_model(ModelSettings(), channels=3, size=32, classes=10).state_dict()
    for name in kept:
        assert torch.equal(model.state_dict()[name], fresh[name])


def test_skipped_entries_of_the_file_may_have_another_shape(network: nn.Module, tmp_path: Path) -> None:
    state = network.state_dict() | {"fc.weight": torch.zeros(100, 64), "fc.bias": torch.zeros(100)}
    torch.save(state, tmp_path / "a.pt")
    model = load(tmp_path / "a.pt", weights_skip=["fc.*"])
    assert torch.equal(model.get_parameter("conv1.weight"), state["conv1.weight"])


def test_what_lies_beside_the_network_can_be_skipped(network: nn.Module, tmp_path: Path) -> None:
    state = prefixed("model.", network.state_dict()) | {"criterion.weight": torch.ones(10)}
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    assert_same(load(tmp_path / "a.pt", weights_skip=["criterion.*"]), network.state_dict())


def test_loading_does_not_depend_on_or_disturb_random_numbers(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "a.pt")
    load(tmp_path / "a.pt")
    after_loading = torch.rand(1)
    torch.manual_seed(1)
    build_model(ModelSettings(), channels=3, size=32, classes=10)
    assert torch.equal(after_loading, torch.rand(1))
