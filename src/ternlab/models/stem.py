"""Which first layers an ImageNet network gets."""

from __future__ import annotations

from ternlab.settings.model import ModelSettings

LARGEST_SMALL_IMAGE = 64


def has_small_stem(settings: ModelSettings, size: int) -> bool:
    """Tell whether images of `size` pixels keep their resolution in the first layers."""
    return settings.stem == "small" or (settings.stem == "auto" and size <= LARGEST_SMALL_IMAGE)
