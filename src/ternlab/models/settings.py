"""Settings common to all networks."""

from __future__ import annotations

from typing import Any, ClassVar

from ternlab.core.fields import Section


class ModelSettings(Section):
    """Which network to use, and where its initial weights come from.

    A family of networks adds its own options in a subclass, which it registers with its builder
    (`ternlab.models.registry`). In the configuration all options are at the same level, in `model`.

    Attributes:
        name: a name registered in `ternlab.models.registry`.
        weights: `None` (random initialization from the seed), `torchvision` (its ImageNet weights), or a file.
        weights_skip: name patterns (`fc.*`) of entries of `weights` that are not loaded.
        training_options: options that affect only training, not the trained network; a baseline may differ in them.
    """

    training_options: ClassVar[frozenset[str]] = frozenset()

    name: str = "resnet20"
    weights: str | None = None
    weights_skip: tuple[str, ...] = ()

    def options(self) -> dict[str, Any]:
        """Return the family's options that are not at their defaults, as plain JSON values."""
        return self.model_dump(mode="json", exclude=set(ModelSettings.model_fields), exclude_defaults=True)
