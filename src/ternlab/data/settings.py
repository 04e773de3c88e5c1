"""Settings of the data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ternlab.core.errors import Conflict
from ternlab.core.fields import Fraction, NonNegativeInt, PositiveInt, Section, free
from ternlab.data.registry import DATA_SETS


class DataSettings(Section):
    """Which images to use, how they are split, and how batches are made from them.

    Attributes:
        name: a name registered in `ternlab.data.registry`.
        root: folder of the data; `None` uses `paths.data` for data sets that can be downloaded.
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
        label_column, image_column: names of the Parquet columns.
    """

    name: str = "digits"
    root: str | None = free(None)
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
    image_column: str = Field("image", min_length=1)
    label_column: str = Field("label", min_length=1)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        DATA_SETS.entry(name)
        return name

    @model_validator(mode="after")
    def _root_given(self) -> DataSettings:
        if DATA_SETS[self.name].needs_root and self.root is None:
            raise Conflict(f"data={self.name} reads your own files, so data.root must be given", {"root": "PATH"})
        return self
