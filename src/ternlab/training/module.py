"""The LightningModule: a classifier, its objective and its optimizer."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ternlab.core.errors import DivergedError
from ternlab.core.rng import batch_seed
from ternlab.models.outputs import logits_of
from ternlab.objectives.base import ForwardPass, Loss, Objective
from ternlab.optimizers.groups import threshold_parameters
from ternlab.settings.root import Settings
from ternlab.training.optimizers import build_optimizer
from ternlab.training.schedule import factor


class Classifier(pl.LightningModule):
    """Trains a network to classify images.

    An algorithm that trains differently is a subclass that overrides `training_step`, which must return the result of
    `step_result`; `model` is the network that is evaluated and saved.

    Args:
        model: maps images (batch, channels, height, width) to logits (batch, classes), or to an output that holds
            them (see `ternlab.models.outputs`); quantized or not.
        objective: what is minimized.
        settings: settings of the run.
        batches_per_epoch: training batches per epoch.
        channels_last: memory format of images and weights.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, settings: Settings, batches_per_epoch: int, channels_last: bool
    ) -> None:
        super().__init__()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.memory_format)
        # Not a torch module, so that nothing inside a term ends up in checkpoints, optimizers or DDP.
        self.objective = objective
        self.settings = settings
        self.steps_per_epoch = -(-batches_per_epoch // settings.trainer.accumulate_grad_batches)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return logits_of(self.model(images.to(memory_format=self.memory_format)))

    def on_fit_start(self) -> None:
        """Move the loss terms to this process's device."""
        self.objective.to(self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make dropout a function of (seed, epoch, batch, rank), so that a resumed run draws the same masks."""
        torch.manual_seed(batch_seed(self.settings.seed, self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Any]:
        """Return the loss of one batch and the values that the metrics are computed from."""
        images, labels = batch
        logits = self(images)
        return self.step_result(self.loss(images, labels, logits), logits)

    def loss(self, images: Tensor, labels: Tensor, logits: Tensor) -> Loss:
        """Return the value of the objective, in float32, for the network's `logits` of `images`."""
        return self.objective(ForwardPass(self.model, images, labels, logits.float()))

    def step_result(self, loss: Loss, logits: Tensor) -> dict[str, Any]:
        """Return the required result of a training step.

        Args:
            loss: backward starts from `total`; `terms` are logged as `loss/NAME`, averaged over the epoch.
            logits: (batch, classes), from which training accuracy is computed.

        Raises:
            DivergedError: the loss is not finite.
        """
        self._stop_if_diverged(loss.total)
        means = {f"loss/{name}": value for name, value in loss.terms.items()}
        return {"loss": loss.total, "mean_loss": loss.total.detach(), "logits": logits.detach(), "means": means}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss (without label smoothing) and the logits."""
        images, labels = batch
        logits = self(images)
        return {"mean_loss": nn.functional.cross_entropy(logits.float(), labels), "logits": logits}

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the loss (without label smoothing) and the logits."""
        return self.validation_step(batch, batch_idx)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient norm of the weights; thresholds have their own clamp."""
        if gradient_clip_val:
            apart = {id(parameter) for parameter in threshold_parameters(self.model)}
            weights = [parameter for parameter in self.model.parameters() if id(parameter) not in apart]
            nn.utils.clip_grad_norm_(weights, gradient_clip_val)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, a function of the step."""
        settings = self.settings
        optimizer = build_optimizer(self.model, settings.optim, settings.quant)
        epochs = settings.trainer.max_epochs

        def of_step(step: int) -> float:
            return factor(settings.optim.schedule, step, self.steps_per_epoch, epochs)

        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, of_step), "interval": "step"},
        }

    def _stop_if_diverged(self, loss: Tensor) -> None:
        finite = bool(torch.isfinite(loss))
        if self.trainer.world_size > 1:
            # All processes must stop together, or the others would wait for the missing one.
            finite = self.trainer.strategy.reduce_boolean_decision(finite, all=True)
        if not finite:
            raise DivergedError(self._diverged())

    def _diverged(self) -> str:
        if self.global_step == 0:
            # No step has been taken, so the learning rate is not the cause.
            return (
                "The loss is not finite before the first step.\n"
                "  instead: trainer.precision=32, or model.weights=null (if weights were loaded)"
            )
        lr = self.settings.optim.lr
        return (
            f"The loss is no longer finite (epoch {self.current_epoch}, step {self.global_step}).\n"
            f"  instead: optim.lr={lr / 10:g} (now {lr:g}), or trainer.gradient_clip_val=1.0, or "
            "optim.schedule.warmup_epochs=5 (the last good checkpoint is kept)"
        )
