"""Predicts the classes of image files batch by batch, with the same preprocessing as evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ternlab.core.errors import TernlabError
from ternlab.data.augment import Normalise
from ternlab.data.decode import CorruptImage, decode, fit_square, to_tensor
from ternlab.export.container import FileFormatError
from ternlab.export.runtimes import Runtime
from ternlab.export.signature import ModelSignature, Preprocessing


@dataclass(frozen=True)
class Predicted:
    """The prediction for one image.

    Attributes:
        image: name of the file.
        top: (class, probability), the most probable first; empty when the image cannot be read.
        error: the reason if it cannot; empty otherwise.
    """

    image: str
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        if self.error:
            return {"image": self.image, "error": self.error}
        top = [{"class": name, "probability": share} for name, share in self.top]
        return {"image": self.image, **top[0], "top": top}


def predictions(
    names: Iterable[str], runtime: Runtime, about: ModelSignature, *, top: int, batch_size: int
) -> Iterator[list[Predicted]]:
    """Yield the predictions for the images, in order, one batch at a time.

    Args:
        names: of image files; read as batches are asked for.
        runtime: runtime of the network.
        about: classes and preprocessing of the file.
        top: number of classes to name.
        batch_size: images that are in memory at once.

    Raises:
        TernlabError: a logit is not a finite number, or there are not as many as classes.
    """
    normalise = Normalise(about.preprocessing.mean, about.preprocessing.std)
    rest = iter(names)
    while batch := list(itertools.islice(rest, batch_size)):
        read = [_read(name, about.preprocessing) for name in batch]
        pixels = [image for image in read if isinstance(image, Tensor)]
        found = iter(_probabilities(runtime, normalise(torch.stack(pixels)), about) if pixels else ())
        yield [
            Predicted(name, error=image) if isinstance(image, str) else Predicted(name, _best(next(found), about, top))
            for name, image in zip(batch, read, strict=True)
        ]


def _read(name: str, wanted: Preprocessing) -> Tensor | str:
    """Return the network's input pixels, or the reason why there are none."""
    try:
        with open(name, "rb") as file:
            # Unlike in a data set, a colour file is no mistake here: scanners store grey images in colour.
            image = decode(file.read(), wanted.channels, convert=True)
        return to_tensor(fit_square(image, wanted.resize, wanted.crop))
    except CorruptImage as error:
        return str(error)
    except (OSError, ValueError, MemoryError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _probabilities(runtime: Runtime, images: Tensor, about: ModelSignature) -> NDArray[np.float64]:
    logits = runtime.logits(np.ascontiguousarray(images.numpy())).astype(np.float64)
    if logits.shape != (len(images), len(about.classes)):
        raise FileFormatError(
            f"{about.path}: has {len(about.classes)} class names for {logits.shape[-1]} outputs\n"
            "  instead: export it again"
        )
    if not np.isfinite(logits).all():
        raise TernlabError(
            f"{runtime.name}: an output of the network is not finite\n  instead: retrain and export the network again"
        )
    shares = np.exp(logits - logits.max(1, keepdims=True))
    normed: NDArray[np.float64] = shares / shares.sum(1, keepdims=True)
    return normed


def _best(shares: NDArray[np.float64], about: ModelSignature, top: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-shares, kind="stable")[:top]
    return tuple((about.classes[place], float(shares[place])) for place in order)
