"""Registry of the data sets, with what is known about them without reading files; does not import torch.

A loader is a function `load(settings: DataSettings, folder: Path) -> DataSource` (see `ternlab.data.source`);
`folder` is `data.root`, or `paths.data/<name>` if no root is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ternlab.core.registry import Registry, checked_reference

_CIFAR10 = tuple(f"cifar-10-batches-py/{name}" for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"))
_MNIST_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


@dataclass(frozen=True)
class DataEntry:
    """What the registry knows about a data set.

    Attributes:
        loader: `"package.module:function"`.
        needs_root: `data.root` must be given, and its contents are part of the run's identity.
        prepare: `"package.module:function"` of a function `prepare(settings, folder) -> None` that downloads missing
            files; called by one process before the loader.
        files: files in the folder that exist once the data set has been downloaded.
        layout: layout of the files under `data.root`, for checks without torch.
        storage: how the images are stored if `data.storage` is `auto`; `None` decides by size.
        shape: channels, side in pixels and number of classes, if they are known without the files.
    """

    loader: str
    needs_root: bool = False
    prepare: str | None = None
    files: tuple[str, ...] = ()
    layout: Literal["parquet", "folders"] | None = None
    storage: Literal["memory", "stream"] | None = None
    shape: tuple[int, int, int] | None = None

    def __str__(self) -> str:
        return self.loader


_GREY, _COLOUR = (1, 28, 10), (3, 32, 10)


def _fetched(*files: str, shape: tuple[int, int, int]) -> DataEntry:
    module = "ternlab.data.torchvision_sets"
    return DataEntry(f"{module}:load", prepare=f"{module}:prepare", files=files, storage="memory", shape=shape)


_DATA_SETS = {
    "digits": DataEntry("ternlab.data.digits:load", storage="memory", shape=(1, 8, 10)),
    "cifar10": _fetched(*_CIFAR10, "cifar-10-batches-py/batches.meta", shape=_COLOUR),
    "cifar100": _fetched(
        "cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta", shape=(3, 32, 100)
    ),
    "mnist": _fetched(*(f"MNIST/raw/{name}" for name in _MNIST_FILES), shape=_GREY),
    "fashion_mnist": _fetched(*(f"FashionMNIST/raw/{name}" for name in _MNIST_FILES), shape=_GREY),
    "svhn": _fetched("train_32x32.mat", "test_32x32.mat", shape=_COLOUR),
    "parquet": DataEntry("ternlab.data.parquet:load", needs_root=True, layout="parquet"),
    "image_folder": DataEntry("ternlab.data.image_folder:load", needs_root=True, layout="folders"),
    "imagenet": DataEntry(
        "ternlab.data.imagenet:load", needs_root=True, layout="folders", storage="stream", shape=(3, 224, 1000)
    ),
}
DATA_SETS: Registry[DataEntry] = Registry("data set", "data.name", _DATA_SETS)


def register_data(name: str, loader: str, *, needs_root: bool = False) -> None:
    """Register a data set under `name`.

    Raises:
        ValueError: the name is taken by another loader, or `loader` has no colon.
    """
    DATA_SETS.register(name, DataEntry(checked_reference("loader", loader), needs_root))
