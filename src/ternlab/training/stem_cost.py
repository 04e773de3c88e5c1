"""Says what the automatic choice of the first layers costs."""

from __future__ import annotations

import torch

from ternlab.export.summary import summary
from ternlab.models.build import build_model
from ternlab.models.settings import ModelSettings
from ternlab.models.stem import StemSettings, has_small_stem
from ternlab.training.network import Shape

_CIFAR_PIXELS = 32


def stem_cost(settings: ModelSettings, shape: Shape) -> str | None:
    """Return a line with the MACs of one image with either stem; `None` unless `model.stem=auto` is a costly choice.

    That is a small stem for images larger than those of CIFAR, with a network that has both stems. No image is
    computed and no memory is allocated.
    """
    if not isinstance(settings, StemSettings) or settings.stem != "auto":
        return None
    if shape.size <= _CIFAR_PIXELS or not has_small_stem(settings, shape.size):
        return None
    small, large = (_macs(settings.model_copy(update={"stem": stem}), shape) for stem in ("small", "imagenet"))
    if small <= large:
        return None
    return (
        f"model.stem=auto is small at {shape.size} pixels: {small / 1e9:.2f} GMACs per image; "
        f"model.stem=imagenet takes {large / 1e9:.2f}"
    )


def _macs(settings: StemSettings, shape: Shape) -> int:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        bare = settings.model_copy(update={"weights": None, "weights_skip": ()})
        model = build_model(bare, channels=shape.channels, size=shape.size, classes=shape.classes)
        return summary(model, (shape.channels, shape.size, shape.size)).macs or 0
