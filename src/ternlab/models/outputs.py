"""The logits in what a network returns, which may be more than a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ternlab.core.errors import SettingsError

_KEYS = ("logits", "out")


def logits_of(output: Any) -> Tensor:
    """Return the logits in the output of a network.

    They are the output itself, the first entry of a tuple or list (auxiliary heads, as in GoogLeNet and Inception), or
    the entry `logits` or `out` of a dictionary.

    Raises:
        SettingsError: the output is none of these.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        for key in _KEYS:
            if isinstance(output.get(key), Tensor):
                found: Tensor = output[key]
                return found
    elif isinstance(output, tuple | list) and output:
        return logits_of(output[0])
    raise SettingsError(
        "model",
        value=type(output).__name__,
        rule="the network returns no logits",
        instead="return a tensor (images, classes), a tuple that begins with it, or a dictionary with 'logits'",
    )


class LogitsOnly(nn.Module):
    """A network that returns only its logits.

    Args:
        network: returns what `logits_of` accepts.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (images, classes)."""
        return logits_of(self.network(images))
