"""Training images for the calibration of integer activations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ternlab.data.module import ImageDataModule
from ternlab.export.runtimes import Images


def calibration_batches(data: ImageDataModule, images: int) -> Iterator[Images]:
    """Yield about `images` training images in batches, as they are trained on, in an order that the seed fixes."""
    left = images
    for batch, _ in itertools.cycle(data.train_dataloader()):
        yield batch[:left].numpy()
        left -= len(batch)
        if left <= 0:
            return
