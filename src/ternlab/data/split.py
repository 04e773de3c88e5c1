"""The validation split: stratified by class and seeded; smaller training sets are prefixes of larger ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ternlab.core.rng import generator


def split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split the indices of `labels` into training and validation.

    One seeded permutation determines both: the first images of each class become validation images, and the rest keep
    their order. Therefore the first N training indices are a prefix of the first N + 1.

    Args:
        labels: class indices, int64, shape (count,).
        fraction: fraction of validation images, 0 <= fraction < 1; the total is rounded to the nearest image.
        seed: seed of the permutation.

    Returns:
        Training indices in seeded order and validation indices in ascending order, both int64. Each class contributes
        its share rounded down or up, and keeps at least one training image.
    """
    order = torch.randperm(len(labels), generator=generator("split", seed))
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in _quotas(labels, fraction).items():
        held[order[labels[order] == label][:quota]] = True
    return order[~held[order]], held.nonzero().flatten()


def _quotas(labels: Tensor, fraction: float) -> dict[int, int]:
    """Return the number of validation images of each class, by the largest remainder method."""
    counts = {label: count for label, count in enumerate(torch.bincount(labels).tolist()) if count}
    shares = {label: count * fraction for label, count in counts.items()}
    quotas = {label: math.floor(share) for label, share in shares.items()}
    left = round(len(labels) * fraction) - sum(quotas.values())
    by_remainder = sorted(counts, key=lambda label: (quotas[label] - shares[label], label))
    for label in by_remainder[: max(left, 0)]:
        quotas[label] += 1
    return {label: min(quotas[label], count - 1) for label, count in counts.items()}
