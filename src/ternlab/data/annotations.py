"""Labels in a text file beside the images, as in the validation part of Tiny-ImageNet; does not import torch."""

from __future__ import annotations

import logging
from pathlib import Path

from ternlab.core.errors import SettingsError
from ternlab.data.layout import image_files

_log = logging.getLogger(__name__)


def annotated_files(part: Path, annotations: Path, classes: list[str]) -> list[tuple[str, int]]:
    """Return path below `part` and label of each image, sorted by label and file name.

    This is the order that the same images have in folders named by class.

    Args:
        part: folder of the images, at any depth below it.
        annotations: a file with one line an image: its file name, its class, and anything else, separated by tabs.
        classes: names of the classes, in the order of the labels.

    Raises:
        SettingsError: a line cannot be understood or names an unknown class, or an image is missing or there twice.
    """
    paths = _paths_by_name(part)
    labels = {name: label for label, name in enumerate(classes)}
    found: dict[str, int] = {}
    for number, line in enumerate(_lines(annotations), 1):
        name, *rest = line.split("\t")
        if not rest:
            raise _wrong(annotations, f"line {number} is not a file name, a tab and a class")
        if rest[0] not in labels:
            raise _wrong(annotations, f"line {number} names the class {rest[0]!r}, for which train/ has no folder")
        if name not in paths:
            raise _wrong(annotations, f"line {number} names {name}, which is not in {part}")
        if paths[name] in found:
            raise _wrong(annotations, f"line {number} names {name} again")
        found[paths[name]] = labels[rest[0]]
    left_out = len(paths) - len(found)
    if left_out:
        _log.warning("%s: %d images are not in %s and are left out", part, left_out, annotations.name)
    return sorted(found.items(), key=lambda pair: (pair[1], pair[0]))


def _paths_by_name(part: Path) -> dict[str, str]:
    paths: dict[str, str] = {}
    for path in image_files(part):
        name = Path(path).name
        if name in paths:
            rule = f"has two images named {name} ({paths[name]} and {path})"
            raise SettingsError("data.root", value=str(part), rule=rule, instead="one of the two in the folder")
        paths[name] = path
    return paths


def _lines(annotations: Path) -> list[str]:
    try:
        return [line for line in annotations.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(annotations, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _wrong(annotations: Path, rule: str) -> SettingsError:
    return SettingsError("data.root", value=str(annotations), rule=rule, instead="the file that came with the images")
