"""The network of a finished run, with its final weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ternlab.data.fingerprint import known_shape
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings
from ternlab.training.network import Shape, build_trained


@dataclass(frozen=True)
class Trained:
    """A run's network.

    Attributes:
        settings: settings of the run, without the files that its weights were initialized from.
        shape: properties of the network that depend on the data.
        model: the network with final weights and attached quantizers.
    """

    settings: Settings
    shape: Shape
    model: nn.Module


def settings_without_start(directory: RunDirectory) -> Settings:
    """Return a run's settings without its initialization files, since all weights are loaded afterwards."""
    settings = directory.settings()
    return settings.model_copy(update={"model": settings.model.model_copy(update={"weights": None})})


def trained_network(directory: RunDirectory, data_dir: str) -> Trained:
    """Return the network of a run with its final weights.

    Args:
        directory: the run.
        data_dir: folder of the data sets (`paths.data`); needed only if the record does not have the shape.

    Raises:
        SettingsError: the weights are damaged or belong to another network.
    """
    settings = settings_without_start(directory)
    settings = settings.model_copy(update={"paths": settings.paths.model_copy(update={"data": data_dir})})
    shape = _recorded_shape(directory) or shape_of_data(settings)
    return Trained(settings, shape, build_trained(settings, shape, directory.weights_file))


def shape_of_data(settings: Settings) -> Shape:
    """Return the properties of the network that depend on the data; reads files only if the data set does not fix them.

    Raises:
        SettingsError: the files are needed and cannot be used.
    """
    known = known_shape(settings.data)
    if known is not None:
        return Shape(*known)
    # Deferred: Lightning takes seconds to import, and most networks do not need it.
    from ternlab.data.module import open_data

    data = open_data(settings.data, Path(settings.paths.data), settings.seed)
    return Shape(data.channels, data.size, len(data.classes))


def _recorded_shape(directory: RunDirectory) -> Shape | None:
    facts = (directory.record() or {}).get("facts") or {}
    if not {"preprocessing", "classes"} <= facts.keys():
        return None
    return Shape(facts["preprocessing"]["channels"], facts["preprocessing"]["size"], len(facts["classes"]))
