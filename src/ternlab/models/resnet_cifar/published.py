"""Converts parameter names and channel order of published CIFAR residual networks to ours."""

from __future__ import annotations

import itertools
import logging
import re

import torch
from torch import Tensor

from ternlab.models.resnet_cifar.family import STAGE_CHANNELS, Shortcut
from ternlab.models.resnet_cifar.network import CifarResNet

_log = logging.getLogger(__name__)

State = dict[str, Tensor]

# elliothe/Ternarized_Neural_Network (the ternary reference code) and its many derivatives.
_STAGED = (
    (r"^conv_1_3x3\.", "conv1."),
    (r"^bn_1\.", "bn1."),
    (r"^stage_([123])\.", r"layer\1."),
    (r"\.conv_a\.", ".conv1."),
    (r"\.bn_a\.", ".bn1."),
    (r"\.conv_b\.", ".conv2."),
    (r"\.bn_b\.", ".bn2."),
    (r"^classifier\.", "fc."),
)
# akamaster/pytorch_resnet_cifar10, which has our names except for the last layer.
_LINEAR = ((r"^linear\.", "fc."),)

_WRITES = re.compile(r"^layer([23])\.\d+\.(conv2\.weight|bn2\.(weight|bias|running_mean|running_var))$")
_READS = re.compile(r"^layer([23])\.(\d+)\.conv1\.weight$")


def adapt(state: State, network: CifarResNet) -> State:
    """Return `state` with the names and the channel order of `network`."""
    return from_published(state, network.stages, network.shortcut)


def from_published(
    state: State, stages: tuple[int, int, int] = STAGE_CHANNELS, shortcut: Shortcut = "zeros_after"
) -> State:
    """Return `state` with the names and channel order of `CifarResNet`; other states are returned unchanged.

    A file is recognized by its names: `conv_1_3x3` (its shortcuts add zeros after the channels), or `linear` together
    with `layer1` (around them). A file with our names is assumed to have our order.

    Args:
        state: the state dict as read from the file.
        stages: channels of the three stages.
        shortcut: where the network's shortcuts add zeros.
    """
    if "conv_1_3x3.weight" in state:
        renamed, given = _renamed(state, _STAGED), "zeros_after"
    elif "linear.weight" in state and "layer1.0.conv1.weight" in state:
        renamed, given = _renamed(state, _LINEAR), "zeros_around"
    else:
        return state
    if given == shortcut:
        return renamed
    _log.info(
        "The channels of stages 2 and 3 are reordered, because the program that wrote the weights adds zeros elsewhere "
        "in its shortcuts. The function is the same; model.shortcut=%s keeps the order of the file.",
        given,
    )
    orders = _orders(stages)
    if given == "zeros_after":
        orders = {stage: _inverse(order) for stage, order in orders.items()}
    return {name: _reordered(name, value, orders) for name, value in renamed.items()}


def _renamed(state: State, rules: tuple[tuple[str, str], ...]) -> State:
    names: State = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        names[name] = value
    return names


def _orders(stages: tuple[int, int, int]) -> dict[int, list[int]]:
    """Return, for each stage, the channel of a network with zeros around for each channel of one with zeros after.

    Once all weights that write or read these channels are reordered, the sum, and so the network, is the same function.
    """
    order = list(range(stages[0]))
    orders = {1: order}
    for stage, (old, new) in enumerate(itertools.pairwise(stages), start=2):
        before = (new - old) // 2
        order = [*(before + channel for channel in order), *range(before), *range(before + old, new)]
        orders[stage] = order
    return orders


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _reordered(name: str, value: Tensor, orders: dict[int, list[int]]) -> Tensor:
    if match := _WRITES.match(name):
        return _select(value, 0, orders[int(match[1])])
    if match := _READS.match(name):
        # The first block of a stage reads the channels of the previous stage.
        stage = int(match[1]) - (match[2] == "0")
        return _select(value, 1, orders[stage])
    if name == "fc.weight":
        return _select(value, 1, orders[3])
    return value


def _select(value: Tensor, axis: int, order: list[int]) -> Tensor:
    """Reorder one axis; a tensor with an unexpected shape is returned unchanged for the caller to report."""
    if value.ndim <= axis or value.shape[axis] != len(order):
        return value
    return value.index_select(axis, torch.tensor(order))
