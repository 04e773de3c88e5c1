"""Registry entries of the residual networks for ImageNet; does not import torch."""

from __future__ import annotations

from ternlab.models.entry import ModelEntry
from ternlab.models.stem import StemSettings

_ENTRY = ModelEntry("ternlab.models.resnet.network:build", StemSettings, torchvision=True)
NETWORKS = {f"resnet{depth}": _ENTRY for depth in (18, 34, 50, 101)}
