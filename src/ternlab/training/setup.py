"""The inputs for building a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ternlab.data.module import ImageDataModule
from ternlab.settings.root import Settings
from ternlab.training.network import Shape, build_network


@dataclass(frozen=True)
class Setup:
    """The argument of a function that builds a training.

    Attributes:
        settings: settings of the run.
        data: the data module, ready for use.
        inputs: `start` (initial weights, if the run starts from a file or from its baseline), and the files that the
            algorithm declared, by name.
        channels_last: memory format of images and weights.
    """

    settings: Settings
    data: ImageDataModule
    inputs: Mapping[str, Path]
    channels_last: bool

    @property
    def shape(self) -> Shape:
        """What the data determine about the network."""
        return Shape(self.data.channels, self.data.size, len(self.data.classes))

    def network(self) -> nn.Module:
        """Return the run's network before its first step, quantized with the run's rule."""
        return build_network(self.settings, self.shape, self.inputs.get("start"))
