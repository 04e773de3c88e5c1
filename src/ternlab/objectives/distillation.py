"""Distance between a network's logits and its teacher's logits."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ternlab.objectives.base import ForwardPass, Term


class Distillation(Term):
    """Distillation from a teacher's logits (Hinton, Vinyals & Dean, 2015, arXiv 1503.02531).

    `kl` is T^2 KL(p || q), averaged over the images. p and q are the softmax of the teacher's and the network's logits
    divided by the temperature T. The factor T^2 keeps the gradient's magnitude independent of T. `mse` is the mean
    squared difference of the logits over images and classes (Ba & Caruana, NIPS 2014).

    Args:
        teacher: maps images to logits without a gradient; has a method `to`.
        loss: `kl` or `mse`.
        temperature: T, for `kl`.
    """

    def __init__(self, teacher: Teacher, loss: Literal["kl", "mse"] = "kl", temperature: float = 4.0) -> None:
        super().__init__()
        self._teacher = teacher
        self._loss = loss
        self._temperature = temperature

    def __call__(self, forward: ForwardPass) -> Tensor:
        """Return the distance for one batch."""
        wanted = self._teacher(forward.images).to(forward.logits.dtype)
        if self._loss == "mse":
            return nn.functional.mse_loss(forward.logits, wanted)
        log_q = nn.functional.log_softmax(forward.logits / self._temperature, dim=1)
        log_p = nn.functional.log_softmax(wanted / self._temperature, dim=1)
        divergence = nn.functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
        return self._temperature**2 * divergence

    def to(self, device: torch.device) -> None:
        """Move the teacher."""
        self._teacher.to(device)


class Teacher:
    """A trained network for inference only: in evaluation mode, without gradients, in no state dict and no optimizer.

    Args:
        network: maps images to logits.
        memory_format: memory format of its weights and of the images.
    """

    def __init__(self, network: nn.Module, memory_format: torch.memory_format = torch.contiguous_format) -> None:
        self.network = network.to(memory_format=memory_format).eval().requires_grad_(False)
        self._memory_format = memory_format
        self._last: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of a batch; the second pass of a sequential update reuses those of the first."""
        if self._last is None or self._last[0] is not images:
            self._last = images, self.network(images.to(memory_format=self._memory_format))
        return self._last[1]

    def to(self, device: torch.device) -> None:
        """Move the network."""
        self.network.to(device)
