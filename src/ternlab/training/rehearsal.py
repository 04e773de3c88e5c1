"""Tries once, before the first step, what would otherwise fail after hours: saving, and a step of the smallest kind."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ternlab.core.errors import SettingsError, TernlabError
from ternlab.data.loaders import Share
from ternlab.export.accounting import sizes
from ternlab.models.outputs import logits_of
from ternlab.models.state_file import state_bytes, state_of_bytes
from ternlab.models.versions import with_versions
from ternlab.settings.root import Settings
from ternlab.training.network import Shape


def rehearse_saving(model: nn.Module) -> None:
    """Save the state of `model` in memory, load it back into the network, and count its sizes; it does not change.

    Raises:
        SettingsError: one of these is not possible.
    """
    try:
        state = state_of_bytes(state_bytes(model.state_dict()))
        model.load_state_dict(with_versions(state, model))
        sizes(model)
    except TernlabError:
        raise
    except Exception as error:  # networks bring code of their own for saving and loading
        message = " ".join(str(error).split())
        raise SettingsError(
            "model",
            value=type(model).__name__,
            rule=f"the network's state cannot be saved and loaded again ({type(error).__name__}: {message})",
            instead="a network for which model.load_state_dict(model.state_dict()) works; buffers must own their "
            "memory, as in register_buffer(name, tensor.clone())",
        ) from error


def rehearse_step(model: nn.Module, shape: Shape, share: Share, settings: Settings) -> list[str]:
    """Return the parameters that a training step does not use; `model` does not change.

    A copy of the network processes one or two black images in training mode. With one process and more than one image
    per batch there is nothing to find out, and nothing is computed.

    Args:
        model: the network before its first step.
        shape: shape of the images.
        share: this process's part of a batch.
        settings: settings of the run, for the error.

    Raises:
        SettingsError: each process has one image per batch, and BatchNorm needs more.
    """
    images = share.batch_size // share.world_size
    if images > 1 and share.world_size == 1:
        return []
    rehearsed = copy.deepcopy(model).train()
    with torch.random.fork_rng(devices=[]):
        batch = torch.zeros(min(images, 2), shape.channels, shape.size, shape.size)
        try:
            torch.autograd.backward(logits_of(rehearsed(batch)).float().sum())
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise _one_image(share, settings) from error
            raise
    return [name for name, value in rehearsed.named_parameters() if value.requires_grad and value.grad is None]


def _one_image(share: Share, settings: Settings) -> SettingsError:
    needed = 2 * share.world_size
    rule = "gives each process one image per batch, with which BatchNorm has no variance after global pooling"
    if settings.data.batch_size < needed:
        return SettingsError(
            "data.batch_size", value=settings.data.batch_size, rule=rule, instead=f"data.batch_size={needed} or more"
        )
    return SettingsError(
        "data.limit_train",
        value=settings.data.limit_train,
        rule=f"there are only {share.batch_size} training images, which {rule}",
        instead=f"data.limit_train={needed} or more, or more images",
    )
