"""Summaries of networks, built from settings or trained."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ternlab.export.summary import Summary, summary
from ternlab.runs.directory import RunDirectory
from ternlab.settings.root import Settings
from ternlab.trained.network import shape_of_data, trained_network
from ternlab.training.network import Shape, build_network


def summarize_settings(settings: Settings) -> Summary:
    """Return the summary of the network that a training with these settings would start from.

    It is freshly initialized, unless the settings name weights: `model.weights`, `quant.init_file` or `ckpt_path`. The
    baseline, from which training starts with `quant.init=baseline`, is not used.

    Raises:
        SettingsError: weights or data cannot be used, or the network cannot process the images.
    """
    shape = shape_of_data(settings)
    start = settings.quant.init_file
    first = None if start is None else Path(start).expanduser()
    if settings.ckpt_path is None:
        return _summary(build_network(settings, shape, first), shape)
    # Deferred: Lightning takes seconds to import, and most summaries do not need it.
    from ternlab.training.resume import checkpoint_entries, load_checkpoint_weights

    checkpoint = Path(settings.ckpt_path).expanduser()
    model = build_network(settings, shape, first, stored=checkpoint_entries(checkpoint))
    load_checkpoint_weights(model, checkpoint)
    return _summary(model, shape)


def summarize_run(directory: RunDirectory, data_dir: str) -> Summary:
    """Return the summary of a run's network with its final weights.

    Args:
        directory: the run.
        data_dir: folder of the data sets (`paths.data`); needed only if the record does not have the shape.

    Raises:
        SettingsError: the weights are damaged or belong to another network.
    """
    trained = trained_network(directory, data_dir)
    return _summary(trained.model, trained.shape)


def _summary(model: nn.Module, shape: Shape) -> Summary:
    return summary(model, (shape.channels, shape.size, shape.size))
