"""The first and the last layer of a network, in the order in which its layers compute."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.fx import Tracer

from ternlab.core.errors import SettingsError
from ternlab.quantizers.dry_run import run_on_zeros
from ternlab.quantizers.weights import layer_weights


@dataclass(frozen=True)
class Ends:
    """The layers that `first_last=full` keeps in full precision.

    Attributes:
        first, last: names of the weights of the first and of the last layer; several for attention.
        observed: whether they are in the order of execution; else they are in the order of definition.
    """

    first: tuple[str, ...]
    last: tuple[str, ...]
    observed: bool

    @property
    def names(self) -> frozenset[str]:
        """The names of all of these weights."""
        return frozenset((*self.first, *self.last))

    def __str__(self) -> str:
        order = "execution" if self.observed else "definition, because the order of execution cannot be traced"
        first, last = ", ".join(self.first) or "the layer itself", ", ".join(self.last) or "the layer itself"
        return f"first_last=full: the first layer is {first}, the last one {last} (in the order of {order})"


def first_and_last(model: nn.Module, input_shape: Sequence[int] | None = None) -> Ends:
    """Return the first and the last layer of `model` among those that can be quantized.

    The order is that of execution, as torch.fx traces it, or else as the layers are called for an image of zeros.
    Where neither is possible, it is that of definition.

    Args:
        model: any network; left as it is.
        input_shape: of one image without the batch; without it, only tracing is tried.
    """
    weights = list(layer_weights(model))
    layers = {weight.layer: None for weight in weights}
    names = {layer: tuple(weight.name for weight in weights if weight.layer is layer) for layer in layers}
    executed = _executed(model, list(layers), input_shape) if len(layers) > 1 else []
    order = executed or list(layers)
    if not order:
        return Ends((), (), observed=False)
    return Ends(names[order[0]], names[order[-1]], observed=bool(executed) or len(layers) == 1)


def _executed(model: nn.Module, layers: list[nn.Module], input_shape: Sequence[int] | None) -> list[nn.Module]:
    """Return the layers in the order of their calls; empty if it is not known."""
    names = {module: name for name, module in model.named_modules()}
    try:
        # A network that remembers what it computes would remember what the tracer puts in its place.
        twin = copy.deepcopy(model).eval()
    except Exception:  # noqa: BLE001 - a network's own code raises what it likes
        return []
    of_twin = {twin.get_submodule(names[layer]): layer for layer in layers}
    found = _traced(twin, set(of_twin)) or _called(twin, set(of_twin), input_shape)
    return [of_twin[module] for module in found if module in of_twin]


def _traced(model: nn.Module, layers: set[nn.Module]) -> list[nn.Module]:
    try:
        graph = _LayerTracer(layers).trace(model)
    except Exception:  # noqa: BLE001 - torch.fx raises what the traced code raises
        return []
    calls = [model.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"]
    return [part for call in calls for part in _parts(call)]


def _called(model: nn.Module, layers: set[nn.Module], input_shape: Sequence[int] | None) -> list[nn.Module]:
    if input_shape is None:
        return []
    found: list[nn.Module] = []

    def observe(layer: nn.Module, inputs: dict[str, Any], output: Any) -> None:
        found.extend(_parts(layer))

    try:
        run_on_zeros(model, input_shape, layers, observe)
    except SettingsError:
        return []
    return found


def _parts(layer: nn.Module) -> list[nn.Module]:
    """Return the layers that compute when `layer` is called: attention reads the weight of its output projection."""
    return [layer, layer.out_proj] if isinstance(layer, nn.MultiheadAttention) else [layer]


class _LayerTracer(Tracer):
    """Looks into every module that contains one of the layers, whoever wrote it, and into no other."""

    def __init__(self, layers: set[nn.Module]) -> None:
        super().__init__()
        self._layers = layers

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one node of the graph."""
        return m in self._layers or self._layers.isdisjoint(m.modules())
