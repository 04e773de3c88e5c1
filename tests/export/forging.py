"""Files as a forger writes them: any header and arrays, and a checksum that fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

Header = dict[str, Any]
Arrays = dict[str, np.ndarray]
Change = Callable[[Header, Arrays], object]

MARK = b'\\"sha256\\":\\"'


def parts(data: bytes) -> tuple[Header, Arrays]:
    """Return header and arrays without any check."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["ternlab"])
    del header["sha256"]
    return header, {name: array.copy() for name, array in load(data).items()}


def with_checksum(data: bytes) -> bytes:
    """Return a file with the checksum of its bytes."""
    place = data.index(MARK) + len(MARK)
    blank = data[:place] + b"0" * 64 + data[place + 64 :]
    return blank[:place] + hashlib.sha256(blank).hexdigest().encode() + blank[place + 64 :]


def written(header: Header, arrays: Arrays) -> bytes:
    """Return a file of any header."""
    text = json.dumps({"sha256": "0" * 64, **header}, separators=(",", ":"))
    return with_checksum(save(arrays, metadata={"ternlab": text}))


def forge(source: Path, target: Path, change: Change) -> Path:
    """Write `source` to `target` with header and arrays that `change` has changed in place."""
    header, arrays = parts(source.read_bytes())
    change(header, arrays)
    target.write_bytes(written(header, arrays))
    return target
