"""Builds a network from settings."""

from __future__ import annotations

from torch import nn

from ternlab.core.registry import imported
from ternlab.models.registry import MODELS, model_settings
from ternlab.models.settings import ModelSettings
from ternlab.models.weights import load_weights


def build_model(settings: ModelSettings, *, channels: int, size: int, classes: int) -> nn.Module:
    """Build the network that `settings` name and load its initial weights.

    Initialization draws from torch's global generator, even if weights are loaded afterwards.

    Args:
        settings: settings of the network; omitted options have their defaults.
        channels: image channels.
        size: height and width of the images.
        classes: number of classes.

    Raises:
        ValueError: `channels`, `size` or `classes` is smaller than 1.
        SettingsError: there is no such network, it does not fit the images, or the weights do not fit the network.
    """
    for argument, value in (("channels", channels), ("size", size), ("classes", classes)):
        if value < 1:
            raise ValueError(f"The value of `{argument}` is {value}, but must be `{argument} >= 1`.")
    settings = model_settings(settings)
    model: nn.Module = imported(MODELS[settings.name].builder)(settings, channels, size, classes)
    if settings.weights is not None:
        load_weights(model, settings.weights, name=settings.name, skip=settings.weights_skip)
    return model
