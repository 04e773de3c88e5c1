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
    """Which network predicts which images, and how.

    Attributes:
        model: a packed file or an ONNX file; its content decides, not its name.
        images: files, folders, patterns, or `-` for names from standard input, one a line.
        top: number of the most probable classes that are printed.
        json_output: print one JSON object a line in place of the table (`json` in the configuration).
        batch_size: images of one batch; no more are in memory.
        runtime: `torch`, `onnxruntime`, `openvino`, or `auto`.
        threads: of the runtime (`None`: its own choice).
        plugins: modules to import first; they register networks.
    """

    model: str = Field(min_length=1)
    images: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed)] = Field(min_length=1)
    top: PositiveInt = 1
    json_output: bool = Field(default=False, alias="json")
    batch_size: PositiveInt = 32
    runtime: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto"
    threads: PositiveInt | None = None
    plugins: tuple[str, ...] = ()
