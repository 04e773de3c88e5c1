"""Real image files, in folders and in Parquet files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CORRUPT = b"\xff\xd8 not a picture"


def encoded(seed: int, size: tuple[int, int] = (8, 8), kind: str = "PNG", mode: str = "RGB") -> bytes:
    """Return the bytes of an image of noise; `size` is (width, height)."""
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_parquet(path: Path, images: Sequence[bytes], labels: Sequence[Any], names: Sequence[str] = ()) -> None:
    """Write a Parquet file as the Hugging Face hub has it; `names` are the classes of its metadata."""
    table = pa.table(
        {"image": [{"bytes": image, "path": None} for image in images], "label": pa.array(labels)},
    )
    if names:
        features = '{"info": {"features": {"label": {"names": [%s], "_type": "ClassLabel"}}}}'
        text = features % ", ".join(f'"{name}"' for name in names)
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)


def write_folder(root: Path, parts: dict[str, int], size: tuple[int, int] = (8, 8), kind: str = "PNG") -> Path:
    """Write `parts[name]` images into each of the classes cat and dog of every part."""
    seed = 0
    for part, count in parts.items():
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                seed += 1
                (root / part / name / f"{number:03d}.{kind.lower()}").write_bytes(encoded(seed, size, kind))
    return root
