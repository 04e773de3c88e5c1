"""Random streams: draws and seeds that are pure functions of their keys and do not touch the global generators."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(*keys: int | str) -> torch.Generator:
    """Return a new CPU generator whose state depends only on `keys`.

    The keys are hashed rather than summed, so (seed 1, epoch 0) and (seed 0, epoch 1) are unrelated.
    """
    text = "/".join(f"{type(key).__name__}:{key}" for key in keys)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    made = torch.Generator()
    made.manual_seed(int.from_bytes(digest, "little", signed=True))
    return made


def batch_seed(*parts: int) -> int:
    """Return a well-mixed seed below 2**63 for torch from integers."""
    digest = hashlib.sha256(",".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the training images in an epoch: an int64 permutation of shape (count,)."""
    return torch.randperm(count, generator=generator("order", seed, epoch))
