"""Checks of the mean and standard deviation that the user gives; does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ternlab.core.errors import SettingsError

if TYPE_CHECKING:
    from ternlab.data.settings import DataSettings


def check_normalization(settings: DataSettings, channels: int | None) -> None:
    """Check that `data.mean` and `data.std` are both given, or neither, with one value for each channel.

    Args:
        settings: the settings of the data.
        channels: channels of the images; `None`: not known yet.

    Raises:
        SettingsError: one is missing, or has another number of values.
    """
    if settings.mean is None and settings.std is None:
        return
    given = len(settings.mean or settings.std or ())
    wanted = channels or (given if given in (1, 3) else 3)
    example = f"{_typed('mean', (0.5,) * wanted)} {_typed('std', (0.25,) * wanted)}, for example"
    for name, values in (("mean", settings.mean), ("std", settings.std)):
        if values is None:
            other = "std" if name == "mean" else "mean"
            rule = f"must be given with data.{other}, which belongs to it"
            raise SettingsError(f"data.{name}", value="null", rule=rule, instead=example)
        if len(values) != wanted:
            rule = "must have one value for each channel of the images, which are " + (
                "grey (1) or colour (3)" if channels is None else "grey (1)" if channels == 1 else "colour (3)"
            )
            raise SettingsError(f"data.{name}", value=list(values), rule=rule, instead=example)


def _typed(name: str, values: tuple[float, ...]) -> str:
    return f"data.{name}=[{','.join(map(str, values))}]"
