"""Accuracy of a runtime on a data set."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ternlab.export.runtimes import Runtime
from ternlab.metrics import classification
from ternlab.metrics.batch import Batch


def top1(runtime: Runtime, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the share of images whose largest logit is that of their class, in percent.

    Args:
        runtime: runtime of the network.
        batches: normalised images, float32 (count, channels, size, size), and labels, int64 (count,).
    """
    right = count = 0
    for images, labels in batches:
        logits = torch.from_numpy(runtime.logits(np.ascontiguousarray(images.numpy())))
        right += int(classification.top1(Batch(logits, labels)))
        count += len(labels)
    return 100 * right / max(1, count)
