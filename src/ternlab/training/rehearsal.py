"""Tries once, before the first step, what a training does at its end: a network that cannot be saved is not trained."""

from __future__ import annotations

from torch import nn

from ternlab.core.errors import SettingsError, TernlabError
from ternlab.export.accounting import sizes
from ternlab.models.state_file import state_bytes, state_of_bytes
from ternlab.models.versions import with_versions


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
