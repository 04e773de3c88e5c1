"""Scales of int8 weights whose products no kernel for 8-bit integers can get wrong.

Kernels for CPUs without VNNI (`vpmaddubsw` of SSE and AVX2) multiply unsigned inputs by signed weights and add
neighbouring products in 16 bits, which saturate: 2 x 255 x 127 is 64,770, more than 32,767. Weights from -64 to 64
cannot: 2 x 255 x 64 is 32,640. So a filter gets at most these levels, and as few as it needs: the weights of a
ternary filter are the codes -1, 0, 1 themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST = 64
"""The largest magnitude of an int8 weight."""
_EXACT = 1e-6
_RANGES = np.arange(1, LARGEST + 1)


def filter_scales(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scale of each filter: weight / scale, rounded, is an integer from -64 to 64.

    Args:
        weights: finite; the first dimension is that of the filters.

    Returns:
        Positive numbers, shape (filters,). A filter that is all zeros has the smallest scale of the others (1 when
        there are none): its bias, which runtimes round to a multiple of the scale, must not become coarser.
    """
    magnitudes = np.abs(weights).reshape(len(weights), -1)
    scales = np.array([_scale(each) for each in magnitudes], np.float32)
    found = scales > 0
    scales[~found] = scales[found].min(initial=np.inf) if found.any() else 1
    return scales


def _scale(magnitudes: NDArray[np.float32]) -> float:
    """Return the largest magnitude over the smallest range that holds all exactly, or else over the best one."""
    levels, counts = np.unique(magnitudes.astype(np.float64), return_counts=True)
    largest = float(levels[-1])
    # With more levels than integers no range is exact, and the widest is the best.
    if largest == 0 or len(levels) > LARGEST + 1:
        return largest / LARGEST
    steps = _RANGES[:, None] * (levels / largest)
    errors = np.abs(steps - np.rint(steps)) / _RANGES[:, None]
    exact = errors.max(1) <= _EXACT
    place = exact.argmax() if exact.any() else (errors**2 @ counts).argmin()
    return largest / float(_RANGES[place])
