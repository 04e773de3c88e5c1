"""Settings of the data."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ternlab.core.errors import Conflict
from ternlab.core.fields import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Section, free
from ternlab.data.naming import check_names, names_in
from ternlab.data.part_choice import AUTO
from ternlab.data.registry import DATA_SETS


class DataSettings(Section):
    """Which images to use, how they are split, and how batches are made from them.

    Attributes:
        name: a name registered in `ternlab.data.registry`.
        root: folder of the data; `None` uses `paths.data` for data sets that can be downloaded.
        test_part: for `data.root`: the part (folder or Parquet files) that the test images come from. `auto`: the first
            one with labels of test, val, validation and valid; one printed line says which. Validation images are never
            read from a part: `val_fraction` holds them out from train.
        download: download missing files of public data sets.
        batch_size: images per batch, over all devices together.
        eval_batch_size: images per evaluation batch on one device.
        val_fraction: fraction of the training images held out for validation, stratified by class.
        split_seed: seed of the validation split; separate from `seed`, so that repeated runs share the split.
        limit_train: use only the first N training images in the split's seeded order (`None`: all).
        image_size: side of the square image given to the network (`None`: the data set's own, 224 for imagenet).
        resize: for streamed evaluation: shorter side before the center crop (`None`: `image_size` * 256 / 224, or
            unscaled if `image_size` is `None` and the images have their own size).
        flip: flip training images horizontally at random.
        crop_padding: pixels of zero padding before a random crop of the original size (in-memory data sets).
        random_resized_crop: train on random crops of random area (streamed data sets).
        storage: `memory` (decoded once, augmented in batches), `stream` (worker processes) or `auto`.
        workers: loader processes of streamed data sets.
        on_error: what to do with a corrupt image: `fail` stops and names it, `skip` skips and counts it.
        channels: 1 (grey) or 3 (RGB): all images are converted. `None`: as the images are; image files that are all
            grey, by a sample of the training images, are read as grey, and a colour image among them is refused.
        mean, std: mean and standard deviation of each channel on the scale 0..1, both or neither: a network gets
            `(pixel / 255 - mean) / std`. `None`: the published ones of a public data set, ImageNet's for streamed
            images, and otherwise those of the training images.
        class_names: names of the classes in the order of the labels, as a list or a text file with one name on each
            line. `None`: the names in the files, or numbers.
        label_column, image_column: names of the Parquet columns.
    """

    name: str = "digits"
    root: str | None = free(None)
    test_part: str = Field(AUTO, pattern=r"^[^/]+$")
    download: bool = free(True)
    batch_size: PositiveInt = 128
    eval_batch_size: PositiveInt = free(256)
    val_fraction: Fraction = 0.1
    split_seed: NonNegativeInt = 0
    limit_train: PositiveInt | None = None
    image_size: PositiveInt | None = None
    resize: PositiveInt | None = None
    flip: bool = False
    crop_padding: NonNegativeInt = 0
    random_resized_crop: bool = False
    storage: Literal["auto", "memory", "stream"] = "auto"
    workers: NonNegativeInt = free(2)
    on_error: Literal["fail", "skip"] = "fail"
    channels: Literal[1, 3] | None = None
    mean: tuple[NonNegativeFloat, ...] | None = None
    std: tuple[PositiveFloat, ...] | None = None
    class_names: tuple[str, ...] | None = None
    image_column: str = Field("image", min_length=1)
    label_column: str = Field("label", min_length=1)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        DATA_SETS.entry(name)
        return name

    @field_validator("test_part")
    @classmethod
    def _not_trained_on(cls, part: str) -> str:
        if part == "train":
            raise ValueError("a network is not tested on its training images")
        return part

    @field_validator("class_names", mode="before")
    @classmethod
    def _names_of_a_file(cls, names: Any) -> Any:
        # The names are stored, not the path: the run does not depend on where the file is.
        return names_in(names) if isinstance(names, str) else names

    @field_validator("class_names")
    @classmethod
    def _names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None:
            check_names(names)
        return names

    @model_validator(mode="after")
    def _on_one_scale(self) -> DataSettings:
        given = {"mean": self.mean or (), "std": self.std or ()}
        scaled = {name: [round(value / 255, 4) for value in values] for name, values in given.items() if values}
        if any(value > 1 for values in given.values() for value in values):
            raise Conflict("mean and std are on the scale 0..1; where white is 255, they are divided by 255", scaled)
        return self

    @model_validator(mode="after")
    def _root_given(self) -> DataSettings:
        if DATA_SETS[self.name].needs_root and self.root is None:
            raise Conflict(f"data={self.name} reads your own files, so data.root must be given", {"root": "PATH"})
        return self
