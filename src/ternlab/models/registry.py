"""Names of the networks and where their builders are; free of torch, so that a typo is answered at once.

A builder is a function `build(settings: ModelSettings, channels: int, size: int, classes: int) -> nn.Module`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

MODELS: dict[str, str] = {
    **{f"resnet{depth}": "ternlab.models.resnet_cifar.network:build" for depth in (20, 32, 44, 56, 110)},
    **{f"resnet{depth}": "ternlab.models.resnet.network:build" for depth in (18, 34, 50, 101)},
    "alexnet": "ternlab.models.alexnet.network:build",
}


def register_model(name: str, builder: str) -> None:
    """Add a network under `name`; `builder` is `"package.module:function"`.

    Raises:
        ValueError: the name is taken by another builder, or `builder` has no colon.
    """
    if ":" not in builder:
        raise ValueError(f"The value of `builder` is {builder!r}, but must be 'package.module:function'.")
    if MODELS.get(name, builder) != builder:
        raise ValueError(f"The model name {name!r} is already registered for {MODELS[name]}.")
    MODELS[name] = builder


def model_builder(name: str) -> Callable[..., Any]:
    """Import and return the builder registered under `name`."""
    module, _, function = MODELS[name].partition(":")
    builder: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return builder
