"""Accuracy of a runtime on a data set."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from ternlab.export.runtimes import Runtime


def top1(runtime: Runtime, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the share of images whose largest logit is that of their class, in percent.

    Args:
        runtime: of the network.
        batches: normalised images, float32 (count, channels, size, size), and labels, int64 (count,).
    """
    right = count = 0
    for images, labels in batches:
        found = runtime.logits(np.ascontiguousarray(images.numpy())).argmax(1)
        right += int((found == labels.numpy()).sum())
        count += len(labels)
    return 100 * right / max(1, count)
