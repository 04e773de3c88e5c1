"""What the tests of `src/predict.py` share."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ternlab.data.digits import load as load_digits
from ternlab.data.settings import DataSettings

PREDICT = "file/predict.yaml"


PLUGINS = "plugins=[tests.tiny]"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images of the digits as PNG files, in the order of the test loader."""
    folder = tmp_path_factory.mktemp("pictures")
    images: Any = load_digits(DataSettings(), Path()).test
    for number, pixels in enumerate(images.images):
        Image.fromarray(pixels[0].numpy()).save(folder / f"{number:03d}.png")
    return folder


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
