"""Update rules as optimizers: the order in which weights and thresholds are stepped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Closure = Callable[[], Any]


class TernaryOptimizer(Optimizer):
    """Steps weights and thresholds, each with an optimizer of its own.

    `sequential` (the order of the authors' program): a pass over the batch, the step of the thresholds, a
    second pass over the same batch, the step of the weights. The closure is called twice, as by
    `torch.optim.LBFGS`; BatchNorm's running statistics see the batch twice. `joint`: one pass, both steps.

    The gradient of a threshold is clamped here, between backward and step, so that under data parallelism
    it is the mean over all processes that is clamped. Its magnitude before the clamp is averaged for the log.

    Args:
        weights: optimizer of everything but the thresholds.
        thresholds: optimizer of the thresholds alone.
        sequential: the two-pass rule.
        clamps: bound of a threshold's gradient, for each group of `thresholds`; `None` for no bound.
    """

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
        """Carry out one update.

        Args:
            closure: clears the gradients, computes the loss, calls backward and returns the loss.

        Returns:
            the loss of the pass that stepped the weights.

        Raises:
            ValueError: no closure; the rule decides how often the batch is passed over.
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
        """Return the mean |dL/dthreshold| before the clamp of each threshold, group by group, and start a new mean."""
        means = [float(total) / self._passes for total in self._gradients] if self._passes else []
        self._passes = 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both optimizers and the running means: plain values and tensors."""
        return {
            "weights": self.weights.state_dict(),
            "thresholds": self.thresholds.state_dict(),
            "gradients": [gradient.clone() for gradient in self._gradients],
            "passes": self._passes,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.weights.load_state_dict(state_dict["weights"])
        self.thresholds.load_state_dict(state_dict["thresholds"])
        # Loading replaces the groups of the two optimizers by new objects: share those again.
        self.param_groups = [*self.weights.param_groups, *self.thresholds.param_groups]
        device = self.thresholds.param_groups[0]["params"][0].device
        self._gradients = [gradient.to(device) for gradient in state_dict["gradients"]]
        self._passes = state_dict["passes"]
