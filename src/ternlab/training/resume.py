"""Where a training starts: from scratch, from its own newest intact checkpoint, or from a given checkpoint."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ternlab.core.errors import CheckpointCorruptError, SettingsError
from ternlab.models.versions import with_versions
from ternlab.models.weights import describe_mismatch
from ternlab.runs.checkpoint_files import manifest_file
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings
from ternlab.training.checkpoints import KEY, readable, verify

_log = logging.getLogger(__name__)
# Of the network within the LightningModule.
_PREFIX = "model."


@dataclass(frozen=True)
class Start:
    """A checkpoint to resume from.

    Attributes:
        path: the file.
        batch: index of the next batch in its epoch; 0 at the end of an epoch.
        step: number of completed optimizer steps.
    """

    path: Path
    batch: int
    step: int
    precision: str


def recipe_of(settings: Settings) -> dict[str, Any]:
    """Return the settings that are fixed because a checkpoint restores their state: the optimizer settings."""
    quant = settings.quant
    rule: Any = quant.rule.model_dump(mode="json") if quant.network_rule.active else {}
    # `None` without entries, as in checkpoints written before entries existed.
    rule["layers"] = [entry.identity() for entry in quant.layers] or None
    return {"optim": settings.optim.model_dump(mode="json", exclude={"schedule"}), "rule": rule}


_MARKED = {"run_id", "step", "batch", "precision", "optim", "rule"}


def starting_checkpoint(settings: Settings, directory: RunDirectory, module: nn.Module) -> Start | None:
    """Return the checkpoint that training starts from, or `None` to start from scratch.

    The run's own newest intact checkpoint takes precedence over `ckpt_path`, which is only where the run started.

    Raises:
        SettingsError: `ckpt_path` cannot be read, is not a ternlab checkpoint, or is of another network.
    """
    for path in readable(directory.checkpoints):
        # Read from the checkpoint itself, since the checksum file's other values are not verified. Memory-mapped,
        # so that no tensor is read.
        mark = torch.load(path, map_location="cpu", weights_only=True, mmap=True)[KEY]
        if mark["run_id"] == directory.run_id:
            return Start(path, mark["batch"], mark["step"], mark["precision"])
        _log.warning("%s belongs to run %s and is ignored.", path, mark["run_id"])
    if settings.ckpt_path is None:
        return None
    return _given(Path(settings.ckpt_path).expanduser(), module, settings)


def _given(path: Path, module: nn.Module, settings: Settings) -> Start:
    checkpoint = read_checkpoint(path)
    mark = checkpoint.get(KEY, {})
    if not mark.keys() >= _MARKED or "optimizer_states" not in checkpoint:
        raise SettingsError(
            "ckpt_path",
            value=str(path),
            rule="is not a checkpoint of a ternlab training",
            instead=f"model.weights={path}, to load only the weights",
        )
    differing, mismatch = describe_mismatch(checkpoint["state_dict"], module.state_dict())
    if differing:
        raise SettingsError(
            "ckpt_path",
            value=str(path),
            rule=f"is a checkpoint of another network{mismatch}",
            instead=f"use the model, data and quant settings of the run that saved it ({mark['run_id']})",
        )
    for section, wanted in recipe_of(settings).items():
        others = [key for key, value in wanted.items() if mark[section].get(key) != value]
        if others:
            raise SettingsError(
                "ckpt_path",
                value=str(path),
                rule=f"has its own optimizer state, which was saved with other settings of {', '.join(others)}",
                instead=f"use those settings ({mark[section]}), or model.weights={path}, to load only the weights",
            )
    return Start(path, mark["batch"], mark["step"], mark["precision"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint in `path`; verified if it has a checksum.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        if manifest_file(path).exists():
            verify(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, CheckpointCorruptError) as error:
        first = str(error).splitlines()[0]
        raise SettingsError(
            "ckpt_path",
            value=str(path),
            rule=f"cannot be read ({first})",
            instead="ckpt_path=FILE (another checkpoint)",
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise SettingsError(
            "ckpt_path", value=str(path), rule="is not a checkpoint", instead="ckpt_path=FILE (another file)"
        )
    return checkpoint


def checkpoint_entries(path: Path) -> set[str]:
    """Return the names in the state dict of a checkpoint's network.

    Raises:
        SettingsError: the checkpoint cannot be read.
    """
    return {name.removeprefix(_PREFIX) for name in read_checkpoint(path)["state_dict"]}


def load_checkpoint_weights(model: nn.Module, path: Path) -> None:
    """Load a checkpoint's weights into `model`, all or nothing.

    Raises:
        SettingsError: the checkpoint cannot be read or is of another network.
    """
    state = read_checkpoint(path)["state_dict"]
    given = {name.removeprefix(_PREFIX): value for name, value in state.items()}
    differing, mismatch = describe_mismatch(given, model.state_dict())
    if differing:
        raise SettingsError(
            "ckpt_path",
            value=str(path),
            rule=f"is a checkpoint of another network{mismatch}",
            instead="ckpt_path=FILE (another file)",
        )
    model.load_state_dict(with_versions(given, model))
