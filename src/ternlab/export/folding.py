"""Folds BatchNorm into the preceding convolution: the same network with fewer operations.

In evaluation mode BatchNorm multiplies each filter's output by a = gamma / sqrt(variance + eps) and adds
b = beta - a mean. Codes stay as they are: the scale of filter f becomes a_f times the scale, the bias a_f bias + b_f.
Exact except for rounding: logits agree to about 1e-5 of the largest, not bit for bit.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node, Tracer
from torch.nn.utils import parametrize

from ternlab.core.errors import SettingsError
from ternlab.quantizers.base import Codes, Plane
from ternlab.quantizers.weights import LayerWeight, quantized_weights


class NotTraceableError(SettingsError):
    """BatchNorm cannot be folded, because the network's path of computation depends on its input.

    Args:
        error: what torch.fx raised.

    Attributes:
        reason: the rule, without the setting.
    """

    def __init__(self, error: Exception) -> None:
        self.reason = f"the network cannot be traced ({error})"
        super().__init__("fold_batchnorm", value=True, rule=self.reason, instead="format=packed fold_batchnorm=false")


@dataclass(frozen=True)
class Inference:
    """A network for inference, and the codes of its quantized layers.

    Attributes:
        network: plain modules; the weights are codes times scale.
        codes: codes of the quantized weights, by `LayerWeight.name`, in the network's order.
        folded: (convolution, BatchNorm) names; the BatchNorm is an identity now.
    """

    network: nn.Module
    codes: dict[str, Codes]
    folded: tuple[tuple[str, str], ...] = ()


@torch.no_grad()
def inference_network(model: nn.Module, *, fold: bool = False) -> Inference:
    """Return a copy of a quantized network without its quantizers, in evaluation mode, on the CPU.

    Args:
        model: as `ternlab.quantize` made it; not changed.
        fold: fold BatchNorm into the convolutions before it.

    Raises:
        SettingsError: a layer computes with another weight than its codes give (NaN, or a second parametrization).
        NotTraceableError: `fold`, and the network's path of computation cannot be traced.
    """
    network = copy.deepcopy(model).eval()
    weights = list(quantized_weights(network))
    found = {weight.name: _checked_codes(weight) for weight in weights}
    for layer in {weight.layer: None for weight in weights}:
        _make_plain(layer, {weight.parameter for weight in weights if weight.layer is layer})
    network.cpu()
    found = {name: Codes(tuple(_on_cpu(plane) for plane in each.planes)) for name, each in found.items()}
    for weight in weights:
        effective = nn.Parameter(found[weight.name].effective())
        weight.layer.register_parameter(weight.parameter, effective)
    pairs = tuple(_fold(network, found)) if fold else ()
    return Inference(network, found, pairs)


def foldable_pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Return the names of each convolution and of the BatchNorm that is the only user of its output, in eval mode.

    Left out is what could not be folded exactly: a layer that is used more than once, whose parameters the network
    also reads itself, or that has hooks or parametrizations.

    Raises:
        NotTraceableError: the network's path of computation cannot be traced.
    """
    graph = _traced(network)
    first = {module: name for name, module in network.named_modules()}
    modules = {node: network.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}
    uses = Counter(modules.values())
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    readers = {network.get_submodule(name) for name in read if name}
    pairs = []
    for node, norm in modules.items():
        before = node.args[0] if node.args else None
        layer = modules.get(before) if isinstance(before, Node) and len(before.users) == 1 else None
        if type(layer) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d or norm.running_mean is None:
            continue
        if all(uses[each] == 1 and each not in readers and _is_plain(each) for each in (layer, norm)):
            pairs.append((first[layer], first[norm]))
    return pairs


def replace_by_identity(network: nn.Module, name: str) -> None:
    """Put an identity in the place of the module `name`, under all of its names."""
    module = network.get_submodule(name)
    names = [other for other, each in network.named_modules(remove_duplicate=False) if each is module]
    for each in names:
        parent, _, leaf = each.rpartition(".")
        setattr(network.get_submodule(parent), leaf, nn.Identity())


def _checked_codes(weight: LayerWeight) -> Codes:
    found = weight.codes()
    if not torch.equal(found.effective(), weight.value):
        raise SettingsError(
            weight.name,
            rule="its codes do not give its effective weight, which is not finite or is changed by another "
            "parametrization",
            instead="a fully trained network with one rule per weight",
        )
    return found


def _make_plain(layer: nn.Module, quantized: set[str]) -> None:
    """Turn a parametrized layer back into what it was, without its quantized weights.

    Other parametrized tensors keep their values.

    `remove_parametrizations` would delete the property from a class that the copy shares with the original.
    """
    parametrizations: Any = layer.parametrizations
    others = {name: _tensor(layer, name).detach().clone() for name in parametrizations if name not in quantized}
    layer.__class__ = type(layer).__bases__[0]
    del layer.parametrizations
    for name, value in others.items():
        layer.register_parameter(name, nn.Parameter(value))


def _tensor(layer: nn.Module, name: str) -> Tensor:
    value: Tensor = getattr(layer, name)
    return value


def _on_cpu(plane: Plane) -> Plane:
    negative = plane.negative_scale
    return replace(
        plane,
        codes=plane.codes.cpu(),
        scale=plane.scale.cpu(),
        negative_scale=None if negative is None else negative.cpu(),
    )


def _fold(network: nn.Module, found: dict[str, Codes]) -> Iterator[tuple[str, str]]:
    """Fold every BatchNorm that can be, in `network` and in the scales of `found`; yield the pairs."""
    for convolution, norm in foldable_pairs(network):
        layer, batch_norm = network.get_submodule(convolution), network.get_submodule(norm)
        assert isinstance(layer, nn.Conv2d) and isinstance(batch_norm, nn.BatchNorm2d)
        factor, offset = _affine(batch_norm)
        bias = torch.zeros_like(offset) if layer.bias is None else layer.bias.double()
        if convolution in found:
            folded = Codes(tuple(_times(plane, factor) for plane in found[convolution].planes))
            scales = [plane.scale for plane in folded.planes]
            weight = folded.effective()
        else:
            folded, scales = None, []
            weight = (layer.weight.double() * factor[:, None, None, None]).to(layer.weight.dtype)
        bias = (factor * bias + offset).to(layer.weight.dtype)
        # A variance of 0 without eps, for one: the scale would be infinite where the output may still be finite.
        if not all(bool(each.isfinite().all()) for each in (*scales, weight, bias)):
            continue
        if folded is not None:
            found[convolution] = folded
        # New parameters: another layer may share the old ones.
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
        replace_by_identity(network, norm)
        yield convolution, norm


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return a and b of each channel, float64."""
    assert norm.running_mean is not None and norm.running_var is not None
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    offset = torch.zeros_like(factor)
    if norm.affine:
        factor, offset = factor * norm.weight.double(), norm.bias.double()
    return factor, offset - factor * norm.running_mean.double()


def _times(plane: Plane, factor: Tensor) -> Plane:
    """Return the plane with the scale of filter f times `factor[f]`."""
    of_filters = factor.reshape(-1, *(1 for _ in plane.codes.shape[1:]))
    negative = plane.negative_scale
    return replace(
        plane,
        scale=(plane.scale.double() * of_filters).to(plane.scale.dtype),
        negative_scale=None if negative is None else (negative.double() * of_filters).to(negative.dtype),
    )


def _is_plain(module: nn.Module) -> bool:
    """Return whether a module computes with its own parameters what its class says, without hooks."""
    hooks: list[Any] = [module._forward_hooks, module._forward_pre_hooks]
    return not any(hooks) and not parametrize.is_parametrized(module)


class _Tracer(Tracer):
    """Sees every read of a buffer, and looks into no convolution or BatchNorm, whoever wrote it."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one node of the graph."""
        known = isinstance(m, (nn.Conv2d, nn.BatchNorm2d))
        return known or bool(super().is_leaf_module(m, module_qualified_name))


def _traced(network: nn.Module) -> Graph:
    """Return the network's computation in evaluation mode; the modes of its modules stay as they are."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        return _Tracer().trace(network)
    except Exception as error:  # torch.fx raises what the traced code raises
        raise NotTraceableError(error) from error
    finally:
        for module in training:
            module.training = True
