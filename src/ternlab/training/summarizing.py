"""Summaries of networks that settings describe, and of trained ones."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ternlab.data.fingerprint import known_shape
from ternlab.export.summary import Summary, summary
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings
from ternlab.training.network import Shape, build_network, load_trained


def summarize_settings(settings: Settings) -> Summary:
    """Return the summary of the network that a training with these settings would start from.

    It is freshly initialized, unless the settings name weights: `model.weights`, `quant.init_file` or `ckpt_path`. The
    baseline, which training would start from with `quant.init=baseline`, is not looked for.

    Raises:
        SettingsError: weights or data cannot be used, or the network cannot take the images.
    """
    shape = shape_of_data(settings)
    start = settings.quant.init_file
    model = build_network(settings, shape, None if start is None else Path(start).expanduser())
    if settings.ckpt_path is not None:
        # Deferred, as below: Lightning takes seconds to import, and most summaries do without it.
        from ternlab.training.resume import load_checkpoint_weights

        load_checkpoint_weights(model, Path(settings.ckpt_path).expanduser())
    return _summary(model, shape)


def summarize_run(directory: RunDirectory, data_dir: str) -> Summary:
    """Return the summary of a run's network with its final weights.

    Args:
        directory: the run.
        data_dir: folder of the data sets (`paths.data`); needed only where the record does not say the shape.

    Raises:
        SettingsError: the weights are damaged or of another network.
    """
    settings = directory.settings()
    # The network is built without the files it started from: all its weights are loaded afterwards.
    bare = settings.model.model_copy(update={"weights": None})
    paths = settings.paths.model_copy(update={"data": data_dir})
    settings = settings.model_copy(update={"model": bare, "paths": paths})
    shape = _recorded_shape(directory) or shape_of_data(settings)
    model = build_network(settings, shape, None)
    load_trained(model, directory.weights_file)
    return _summary(model, shape)


def shape_of_data(settings: Settings) -> Shape:
    """Return what the data decide of the network; files are read only where the data set does not fix it.

    Raises:
        SettingsError: the files are needed and cannot be used.
    """
    known = known_shape(settings.data)
    if known is not None:
        return Shape(*known)
    from ternlab.data.module import build_data

    data = build_data(settings.data, data_dir=Path(settings.paths.data), seed=settings.seed)
    data.prepare_data()
    data.setup()
    return Shape(data.channels, data.size, len(data.classes))


def _recorded_shape(directory: RunDirectory) -> Shape | None:
    facts = (directory.record() or {}).get("facts") or {}
    if not {"preprocessing", "classes"} <= facts.keys():
        return None
    return Shape(facts["preprocessing"]["channels"], facts["preprocessing"]["size"], len(facts["classes"]))


def _summary(model: nn.Module, shape: Shape) -> Summary:
    return summary(model, (shape.channels, shape.size, shape.size))
