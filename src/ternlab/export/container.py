"""A file of named arrays and a JSON header with a checksum over every byte; free of torch.

It is a safetensors file, which any safetensors library can open. Its metadata has one entry, `ternlab`, a JSON object
that starts with `sha256`: the checksum of the whole file with the 64 characters of the checksum itself replaced by
zeros. The same arrays and header give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ternlab.core.errors import ExitCode, TernlabError
from ternlab.core.files import write_bytes

Arrays = dict[str, NDArray[Any]]

_BLANK = "0" * 64
_MOST_SHOWN = 80
# As it appears in JSON nested in JSON; a name that imitates it has more backslashes.
_MARK = rb"\"sha256\":\""


class FileFormatError(TernlabError):
    """An invalid file: truncated, modified, forged, of a later version, or of another format."""

    exit_code = ExitCode.BAD_SETTINGS


def write_container(path: Path, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> int:
    """Write the file next to `path`, rename it, and return its bytes.

    Args:
        path: path of the file; an existing file is replaced.
        arrays: stored as they are; C-contiguous.
        header: plain JSON values.
    """
    text = json.dumps({"sha256": _BLANK, **header}, separators=(",", ":"), allow_nan=False)
    blank = save(dict(arrays), metadata={"ternlab": text})
    place = _place_of_checksum(blank, path)
    digest = hashlib.sha256(blank).hexdigest().encode()
    write_bytes(path, blank[:place] + digest + blank[place + len(digest) :])
    return len(blank)


def read_container(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Return header and arrays of a file that `write_container` wrote.

    Nothing larger than the file is allocated, and nothing of it is executed.

    Raises:
        FileFormatError: there is no such file, or a byte of it is not as it was written.
    """
    data = _bytes(path)
    place = _place_of_checksum(data, path)
    view = memoryview(data)
    found = data[place : place + len(_BLANK)]
    blank = hashlib.sha256(view[:place])
    blank.update(_BLANK.encode())
    blank.update(view[place + len(_BLANK) :])
    if found != blank.hexdigest().encode():
        raise FileFormatError(
            f"{path}: is damaged; its checksum does not match its {len(data)} bytes\n  instead: copy or export it again"
        )
    try:
        header: dict[str, Any] = json.loads(_metadata(data)["ternlab"])
        del header["sha256"]
        return header, load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(_no_file_of_ternlab(path, type(error).__name__)) from None


def shown(value: object) -> str:
    """Return what a file says as it can stand in a message: one short line without control characters."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def _bytes(path: Path) -> bytes:
    try:
        # A device or a pipe has no end.
        if path.exists() and not path.is_file():
            raise FileFormatError(f"{path}: is not a regular file\n  instead: a file written by src/export.py")
        return path.read_bytes()
    except OSError as error:
        raise FileFormatError(
            f"{path}: cannot be read ({error.strerror})\n  instead: a file written by src/export.py"
        ) from None
    except ValueError as error:
        raise FileFormatError(
            f"{str(path)!r}: cannot be read ({error})\n  instead: a file written by src/export.py"
        ) from None


def _place_of_checksum(data: bytes, path: Path) -> int:
    """Return where the 64 places of the checksum begin, looking only at the header."""
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    place = header.find(_MARK)
    if len(data) < 8 or len(header) < length or place < 0 or place + len(_MARK) + len(_BLANK) > length:
        raise FileFormatError(_no_file_of_ternlab(path, "no checksum in its header"))
    return 8 + place + len(_MARK)


def _metadata(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata


def _no_file_of_ternlab(path: Path, reason: object) -> str:
    return (
        f"{path}: is not a packed network of ternlab, or is truncated ({reason})\n"
        "  instead: a file written by python src/export.py run=ID format=packed"
    )


def as_array(values: bytes) -> NDArray[np.uint8]:
    """Return bytes as an array that can be stored."""
    return np.frombuffer(values, dtype=np.uint8)
