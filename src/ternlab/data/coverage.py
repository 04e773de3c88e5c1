"""What the user should know about the classes of a data set: those without images."""

from __future__ import annotations

import torch

from ternlab.data.source import DataSource

_SHOWN = 5


def check_labels(source: DataSource) -> None:
    """Raise ValueError unless every label is that of a class, which third-party loaders may get wrong."""
    for name, part in (("training", source.train), ("test", source.test)):
        wrong = (part.labels < 0) | (part.labels >= len(source.classes))
        if wrong.any():
            found = int(part.labels[wrong][0])
            rule = f"must be in 0..{len(source.classes) - 1}, the {len(source.classes)} classes"
            raise ValueError(f"The label of {int(wrong.sum())} {name} images, such as {found}, {rule}.")


def class_warnings(source: DataSource) -> list[str]:
    """Return a line for each kind of class without images, with counts; none if every class has images in both parts.

    Class folders without training images are refused earlier. These are classes that a Parquet file names without using
    them, or whose images were all skipped.
    """
    train, test = (torch.bincount(part.labels, minlength=len(source.classes)) for part in (source.train, source.test))
    unseen, untested = train == 0, test == 0
    lines = []
    if unseen.any():
        lost = int(test[unseen].sum())
        effect = f"; {lost} of {int(test.sum())} test images are of these classes and will be misclassified" * bool(
            lost
        )
        lines.append(f"{_shown(unseen, source)} no training image{effect}")
    if (untested & ~unseen).any():
        lines.append(f"{_shown(untested & ~unseen, source)} no test image")
    return lines


def _shown(chosen: torch.Tensor, source: DataSource) -> str:
    names = [source.classes[label] for label in chosen.nonzero().flatten().tolist()]
    listed = ", ".join(names[:_SHOWN]) + ", ..." * (len(names) > _SHOWN)
    return f"{len(names)} of {len(source.classes)} classes ({listed}) {'has' if len(names) == 1 else 'have'}"
