"""Settings of a prediction."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ternlab.core.fields import PositiveInt, Section


def _listed(value: Any) -> Any:
    """Take one name for a list of one, and a name of digits (a folder `2024`), which Hydra reads as a number."""
    names = value if isinstance(value, list | tuple) else [value]
    return [str(name) if type(name) in (int, float) else name for name in names]


class PredictSettings(Section):
    """Which images to classify, with which network, and how.

    Attributes:
        model: a packed or ONNX file, recognized by its content, not its name.
        images: files, folders, patterns, or `-` for names from standard input, one per line.
        top: number of most probable classes to print.
        json_output: print one JSON object per line instead of the table (`json` in the configuration).
        batch_size: images per batch; no more are in memory.
        runtime: `torch`, `onnxruntime`, `openvino`, or `auto`.
        threads: threads of the runtime (`None`: its default).
        plugins: modules to import first; they register networks.
    """

    model: str = Field(min_length=1, examples=["FILE"])
    images: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed)] = Field(
        min_length=1, examples=["FOLDER"]
    )
    top: PositiveInt = 1
    json_output: bool = Field(default=False, alias="json")
    batch_size: PositiveInt = 32
    runtime: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto"
    threads: PositiveInt | None = None
    plugins: tuple[str, ...] = ()
