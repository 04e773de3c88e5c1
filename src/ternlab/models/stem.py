"""Options of the networks for ImageNet: the stem (first layers) and dropout."""

from __future__ import annotations

from typing import ClassVar, Literal

from ternlab.core.fields import Fraction
from ternlab.models.settings import ModelSettings

LARGEST_SMALL_IMAGE = 64


class StemSettings(ModelSettings):
    """Settings of networks that can be built for large or small images.

    Attributes:
        stem: the first layers. `imagenet` is the published stem (stride 2 and pooling); `small` keeps the resolution
            of small images; `auto` uses `small` for images up to 64 pixels.
    """

    stem: Literal["auto", "small", "imagenet"] = "auto"


class StemDropoutSettings(StemSettings):
    """Settings of networks that also have dropout.

    Attributes:
        dropout: dropout probability.
    """

    training_options: ClassVar[frozenset[str]] = frozenset({"dropout"})

    dropout: Fraction = 0.0


def has_small_stem(settings: StemSettings, size: int) -> bool:
    """Return whether images of `size` pixels keep their resolution in the first layers."""
    return settings.stem == "small" or (settings.stem == "auto" and size <= LARGEST_SMALL_IMAGE)
