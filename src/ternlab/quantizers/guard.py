"""Guards the layers of a network that any loop may train.

A run clamps the gradients of thresholds in its optimizer (`quant.threshold.clamp`) and examines the codes at the end of
each epoch. A loop of your own does neither. With plain SGD, the threshold of a last layer, whose gradient is thousands
of times the clamp, leaves its weights behind within a few steps: all codes become 0, and the loss no longer falls. So
`ternlab.quantize` guards the rules that it attaches:

- Every torch optimizer clamps the gradients of their thresholds just before it steps: after the gradients of all
  processes have been averaged, after a gradient scaler has unscaled them, and after the closure if `step` is given one.
  Until then, `.grad` is the published gradient. This is a hook on `torch.optim.Optimizer` that changes nothing else. A
  step that is itself compiled (`torch.compile(optimizer.step)`) does not have it.
- A rule may keep its layer alive in its own way; see `ternlab.quantizers.tga`.
- A layer that cannot learn is reported once, by a warning. The codes are examined at the 16th, 32nd, 64th, ... forward
  pass in training mode, so a fault is reported after at most twice as many passes as it took to appear. Examining them
  waits for the device, which these few passes can afford and every pass could not; all other passes only count.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ternlab.quantizers.base import Quantizer
from ternlab.quantizers.faults import fault_message
from ternlab.quantizers.options import TrainedThresholdOptions

FIRST_LOOK = 16
# Set on the parameters, because an optimizer knows nothing else.
_BOUND = "_ternlab_gradient_bound"


def guard(layer: str, rule: Quantizer) -> None:
    """Guard the rule of a layer; `layer` is the name in warnings."""
    if rule.guarded:
        return
    for part in _parts(rule):
        part.guarded = True
    rule.register_forward_pre_hook(_Watch(layer))
    _mark_thresholds(rule)


def unguard(model: nn.Module) -> None:
    """Leave all rules of `model` to a training that clamps thresholds and examines codes itself."""
    for part in _parts(model):
        part.guarded = False
        for threshold in part.thresholds():
            if hasattr(threshold, _BOUND):
                delattr(threshold, _BOUND)


def _parts(module: nn.Module) -> Iterator[Quantizer]:
    return (part for part in module.modules() if isinstance(part, Quantizer))


class _Watch:
    """Forward pre-hook of a guarded rule: marks its thresholds, and examines the codes now and then."""

    def __init__(self, layer: str) -> None:
        self._layer = layer
        self._passes = 0
        self._next = FIRST_LOOK

    def __call__(self, rule: Quantizer, inputs: tuple[Tensor]) -> None:
        # Tracing sees neither Python counters nor attributes of parameters.
        if torch.compiler.is_compiling() or not rule.guarded or not rule.training:
            return
        # In every pass, because copying a network does not copy the mark.
        _mark_thresholds(rule)
        (weight,) = inputs
        self._passes += 1
        if self._passes == self._next and _can_be_read(weight):
            self._look(rule, weight)
        if self._passes == self._next:
            self._next *= 2

    def _look(self, rule: Quantizer, weight: Tensor) -> None:
        fault = rule.fault(weight)
        if fault is not None:
            self._next = 0
            warnings.warn(fault_message(self._layer, rule, fault, in_run=False), UserWarning, stacklevel=2)


def _can_be_read(weight: Tensor) -> bool:
    """Return whether the weight has values: it is not on the meta device, and no CUDA graph is being recorded."""
    return not (weight.is_meta or (weight.is_cuda and torch.cuda.is_current_stream_capturing()))


def _mark_thresholds(rule: Quantizer) -> None:
    options = rule.options
    if not isinstance(options, TrainedThresholdOptions) or options.threshold.clamp is None:
        return
    for threshold in rule.thresholds():
        setattr(threshold, _BOUND, options.threshold.clamp)
        _clamp_in_every_optimizer()


def _clamp_in_every_optimizer() -> None:
    global _registered
    if not _registered:
        register_optimizer_step_pre_hook(_before_step)
        _registered = True


_registered = False


def _before_step(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Clamp the gradients of marked thresholds, after the closure if there is one."""
    if torch.compiler.is_compiling() or getattr(optimizer, "clamps_thresholds", False):
        return None
    marked = [
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if getattr(parameter, _BOUND, None) is not None
    ]
    if not marked:
        return None
    # args[0] is the optimizer.
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        _clamp(marked, optimizer)
        return None
    clamping = _clamping(closure, marked, optimizer)
    if "closure" in kwargs:
        return args, {**kwargs, "closure": clamping}
    return (args[0], clamping, *args[2:]), kwargs


def _clamping(closure: Callable[[], Any], marked: list[nn.Parameter], optimizer: Optimizer) -> Callable[[], Any]:
    def clamping() -> Any:
        loss = closure()
        _clamp(marked, optimizer)
        return loss

    return clamping


@torch.no_grad()
def _clamp(marked: list[nn.Parameter], optimizer: Optimizer) -> None:
    # A fused optimizer unscales float16 gradients inside its step.
    scale = getattr(optimizer, "grad_scale", None)
    for parameter in marked:
        if parameter.grad is not None:
            bound = getattr(parameter, _BOUND) * (1.0 if scale is None else scale)
            parameter.grad.clamp_(-bound, bound)
