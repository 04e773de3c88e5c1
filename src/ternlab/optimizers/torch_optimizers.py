"""Builders of torch optimizers from parameter groups and settings."""

from __future__ import annotations

from torch.optim import SGD, Adam, AdamW, Optimizer

from ternlab.optimizers.registry import Groups
from ternlab.optimizers.torch_settings import TorchOptimSettings


def sgd(groups: Groups, settings: TorchOptimSettings) -> Optimizer:
    """Return SGD with momentum."""
    return SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov)


def adam(groups: Groups, settings: TorchOptimSettings) -> Optimizer:
    """Return Adam, with weight decay as part of the gradient (L2)."""
    return Adam(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)


def adamw(groups: Groups, settings: TorchOptimSettings) -> Optimizer:
    """Return Adam with decoupled weight decay."""
    return AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)
