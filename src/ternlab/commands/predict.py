"""The prediction command: classify image files with an exported network."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ternlab.core.check import checked
from ternlab.core.errors import ExitCode, SettingsError, TernlabError
from ternlab.data.listing import STANDARD_INPUT, listed
from ternlab.export.predict_settings import PredictSettings
from ternlab.export.signature import ModelSignature, read_signature
from ternlab.models.registry import MODELS
from ternlab.settings.load import import_plugins

if TYPE_CHECKING:
    from ternlab.export.prediction import Predicted


class _Names:
    """The names of the images; the first ones can be counted before they are used."""

    def __init__(self, names: Iterator[str], *, countable: bool) -> None:
        self._names = names
        self._countable = countable

    def __iter__(self) -> Iterator[str]:
        return self._names

    def count(self, limit: int) -> int | None:
        """Return the number of names, at most `limit`; `None` where counting would block on standard input."""
        if not self._countable:
            return None
        first = list(itertools.islice(self._names, limit))
        self._names = itertools.chain(first, self._names)
        return len(first)


def main(config: dict[str, Any]) -> ExitCode:
    """Predict as configured, and print a table or JSON lines.

    Raises:
        SettingsError: the file, the images or the runtime cannot be used.
        TernlabError: some images could not be read; the others were predicted.
    """
    wanted = checked(PredictSettings, config)
    import_plugins(wanted.plugins)
    about = read_signature(Path(wanted.model).expanduser())
    _check(wanted, about)
    names = _Names(listed(wanted.images), countable=STANDARD_INPUT not in wanted.images)
    # Deferred: importing torch takes seconds; a typo should fail at once.
    from ternlab.export.prediction import predictions
    from ternlab.export.runtime_selection import runtime_for

    runtime = runtime_for(about, wanted.runtime, wanted.threads, names.count)
    show = _JsonLines() if wanted.json_output else _Table(wanted.top, about.classes)
    count = broken = 0
    for batch in predictions(names, runtime, about, top=wanted.top, batch_size=wanted.batch_size):
        for found in batch:
            if found.error:
                print(f"{_shown(found.image)}: {found.error}", file=sys.stderr, flush=True)
            show(found)
        sys.stdout.flush()
        count += len(batch)
        broken += sum(bool(found.error) for found in batch)
    if broken:
        raise TernlabError(f"{broken} of {count} images could not be read")
    return ExitCode.DONE


def _check(wanted: PredictSettings, about: ModelSignature) -> None:
    if not about.onnx and about.model not in MODELS:
        raise SettingsError(
            "model",
            value=wanted.model,
            rule=f"holds the network {about.model}, which is not registered",
            instead="plugins=[MODULE], with the module that registers it",
        )
    if wanted.top > len(about.classes):
        raise SettingsError(
            "top",
            value=wanted.top,
            rule=f"the network has only {len(about.classes)} classes",
            instead=f"top={len(about.classes)}",
        )


class _JsonLines:
    def __call__(self, found: Predicted) -> None:
        print(json.dumps(found.to_dict(), allow_nan=False))


class _Table:
    """Fixed-width lines, so each batch can be printed at once; the image name, of any length, comes last."""

    def __init__(self, top: int, classes: tuple[str, ...]) -> None:
        self._width = max(len("class"), *(len(_shown(name)) for name in classes))
        print("  ".join([f"{'class':{self._width}}  probability"] * top + ["image"]))

    def __call__(self, found: Predicted) -> None:
        if not found.error:
            cells = [f"{_shown(name):{self._width}}  {100 * share:9.2f} %" for name, share in found.top]
            print("  ".join([*cells, _shown(found.image)]))


def _shown(name: str) -> str:
    """Return a name on one line and without terminal control sequences."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()
