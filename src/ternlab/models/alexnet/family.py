"""AlexNet's registry entry; does not import torch."""

from __future__ import annotations

from ternlab.models.entry import ModelEntry
from ternlab.models.stem import StemDropoutSettings

NETWORKS = {"alexnet": ModelEntry("ternlab.models.alexnet.network:build", StemDropoutSettings)}
