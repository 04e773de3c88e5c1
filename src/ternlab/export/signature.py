"""The input and output of an exported file; free of torch, so that an invalid file is rejected at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ternlab.core.check import checked
from ternlab.core.errors import SettingsError
from ternlab.core.fields import PositiveInt, Section
from ternlab.export.container import FileFormatError
from ternlab.export.header import Architecture
from ternlab.export.info import info


class Preprocessing(Section):
    """What an image goes through before the network, as `ImageDataModule.preprocessing` tells it.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        size: side of the network's input.
        resize: length of the shorter side after scaling, in pixels.
        interpolation: method of scaling.
        crop: side of the central square that is cut.
        mean, std: of each channel, of pixels between 0 and 1.
    """

    channels: Literal[1, 3]
    size: PositiveInt
    resize: PositiveInt
    interpolation: Literal["bilinear, antialiased"] = "bilinear, antialiased"
    crop: PositiveInt
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _belongs_together(self) -> Preprocessing:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"must have mean and std of {self.channels} channels")
        if self.crop != self.size or self.resize < self.crop:
            raise ValueError("must have a crop of the network's size, and resize to no less")
        return self


@dataclass(frozen=True)
class ModelSignature:
    """An exported file that can predict.

    Attributes:
        path: path of the file.
        onnx: whether it is an ONNX file; a packed one otherwise.
        model: name of the network.
        classes: names, in the order of the logits.
        preprocessing: preprocessing of the images.
    """

    path: Path
    onnx: bool
    model: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the network's input."""
        return self.preprocessing.channels, self.preprocessing.size, self.preprocessing.size


def read_signature(path: Path) -> ModelSignature:
    """Return what a packed or an ONNX file says of itself.

    Raises:
        FileFormatError: the file is neither, or damaged, or what it says is wrong.
        SettingsError: it does not say which network it is of, or how images are prepared.
    """
    found = info(path)
    for name in ("architecture", "preprocessing"):
        if found.get(name) is None:
            raise SettingsError(
                "model",
                value=str(path),
                rule=f"does not include its {name}, so images cannot be preprocessed and classes cannot be named",
                instead="a file written by python src/export.py run=ID",
            )
    architecture = _checked(Architecture, found["architecture"], path, "architecture")
    preprocessing = _checked(Preprocessing, found["preprocessing"], path, "preprocessing")
    if (architecture.channels, architecture.size) != (preprocessing.channels, preprocessing.size):
        raise FileFormatError(f"{path}: its preprocessing does not match its network\n  instead: export it again")
    name = str(architecture.model.get("name"))
    return ModelSignature(path, found["format"] == "onnx", name, architecture.classes, preprocessing)


def _checked(section: Any, values: Any, path: Path, name: str) -> Any:
    try:
        return checked(section, values if isinstance(values, dict) else {}, prefix=name)
    except SettingsError as error:
        first = str(error).splitlines()[0]
        raise FileFormatError(f"{path}: its header is invalid ({first})\n  instead: export it again") from None
