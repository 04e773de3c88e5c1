"""Which part of a data set the test images come from, and why; does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

AUTO = "auto"
_HELD_OUT = "validation images are held out from the training images, see data.val_fraction"


@dataclass(frozen=True)
class Choice:
    """The part that the test images come from.

    Attributes:
        name: the part.
        reason: one line for the user: which part, and why.
    """

    name: str
    reason: str


def choose_part(
    wanted: str, found: Sequence[str], unlabelled: Callable[[str], str], *, shown: str = "{}"
) -> Choice | None:
    """Choose the test part.

    Args:
        wanted: `data.test_part`; a name is used as it is, whether its images have labels or not.
        found: the parts that are there and may hold the test images, best first.
        unlabelled: returns why the images of a part have no labels, or an empty string; only called for `auto`, if
            another part could be used instead.
        shown: how a part is written in the reason.

    Returns:
        The part, or `None` if `auto` found none. Where no part has labels it is the first one.
    """
    if wanted != AUTO:
        return Choice(wanted, f"test images: {shown.format(wanted)}, by data.test_part")
    if not found:
        return None
    passed: list[str] = []
    for name in found:
        why = unlabelled(name) if len(found) > 1 else ""
        if not why:
            break
        passed.append(f"{shown.format(name)} is passed over, {why}")
    else:
        name, passed = found[0], []
    unused = [f"{shown.format(other)} is not used" for other in found[found.index(name) + 1 :]]
    missing = [] if "test" in found else [f"there is no {shown.format('test')}"]
    held_out = [_HELD_OUT] if name != "test" or unused else []
    return Choice(name, "; ".join([f"test images: {shown.format(name)}", *missing, *passed, *unused, *held_out]))
