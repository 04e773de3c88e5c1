"""Update rules as optimizers: the order in which weights and thresholds are updated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Closure = Callable[[], Any]


class TernaryOptimizer(Optimizer):
    """Updates weights and thresholds, each with its own optimizer.

    `sequential` (the order of the authors' code): a pass over the batch, the threshold step, a second pass over the
    same batch, the weight step. The closure is called twice, as by `torch.optim.LBFGS`; BatchNorm's running
    statistics see the batch twice. `joint`: one pass, both steps.

    Threshold gradients are clamped here, between backward and step, so that with data parallelism the mean over all
    processes is clamped. Their magnitude before the clamp is averaged for the log.

    Args:
        weights: optimizer of everything except the thresholds.
        thresholds: optimizer of only the thresholds.
        sequential: whether to use the two-pass rule.
        clamps: bound of the threshold gradients for each group of `thresholds`; `None` for no bound.

    Attributes:
        clamps_thresholds: tells `ternlab.quantizers.guard` that this optimizer clamps by itself.
    """

    clamps_thresholds = True

    def __init__(
        self, weights: Optimizer, thresholds: Optimizer, *, sequential: bool, clamps: Sequence[float | None]
    ) -> None:
        # The groups are shared with the two optimizers, so that one schedule drives all learning rates.
        super().__init__([*weights.param_groups, *thresholds.param_groups], {})
        self.weights = weights
        self.thresholds = thresholds
        self.sequential = sequential
        self.clamps = tuple(clamps)
        self._gradients: list[Tensor] = []
        self._passes = 0

    def step(self, closure: Closure | None = None) -> Any:
        """Perform one update.

        Args:
            closure: clears the gradients, computes the loss, calls backward and returns the loss.

        Returns:
            the loss of the pass that stepped the weights.

        Raises:
            ValueError: there is no closure; the rule must call it once per pass.
        """
        if closure is None:
            raise ValueError("The value of `closure` is None, but the update rule must be able to call it.")
        with torch.enable_grad():
            loss = closure()
        self._clamp_thresholds()
        self.thresholds.step()
        if self.sequential:
            with torch.enable_grad():
                loss = closure()
        self.weights.step()
        return loss

    @torch.no_grad()
    def _clamp_thresholds(self) -> None:
        groups = [
            [torch.zeros_like(threshold) if threshold.grad is None else threshold.grad for threshold in group["params"]]
            for group in self.thresholds.param_groups
        ]
        gradients = [gradient for group in groups for gradient in group]
        magnitudes = [gradient.abs() for gradient in gradients]
        if self._passes == 0:
            self._gradients = magnitudes
        else:
            torch._foreach_add_(self._gradients, magnitudes)
        self._passes += 1
        for group, clamp in zip(groups, self.clamps, strict=True):
            if clamp is not None:
                torch._foreach_clamp_min_(group, -clamp)
                torch._foreach_clamp_max_(group, clamp)

    def mean_gradients(self) -> list[float]:
        """Return the mean |dL/dthreshold| before the clamp of each threshold, group by group, and reset the means."""
        means = [float(total) / self._passes for total in self._gradients] if self._passes else []
        self._passes = 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both optimizers and the running means, as plain values and tensors."""
        return {
            "weights": self.weights.state_dict(),
            "thresholds": self.thresholds.state_dict(),
            "gradients": [gradient.clone() for gradient in self._gradients],
            "passes": self._passes,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.weights.load_state_dict(state_dict["weights"])
        self.thresholds.load_state_dict(state_dict["thresholds"])
        # Loading replaces the parameter groups of the two optimizers with new objects, which must be shared again.
        self.param_groups = [*self.weights.param_groups, *self.thresholds.param_groups]
        device = self.thresholds.param_groups[0]["params"][0].device
        self._gradients = [gradient.to(device) for gradient in state_dict["gradients"]]
        self._passes = state_dict["passes"]
