"""Registry of loss terms that settings can add to a training, and their options; does not import torch.

A term is a class whose instances map a forward pass to a scalar (see `ternlab.objectives.base`).
Its options are a `Section`, so that a wrong option is reported without importing torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ternlab.core.errors import SettingsError
from ternlab.core.fields import Section
from ternlab.core.registry import Registry, imported

_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Terms that belong to an algorithm; each is logged as `loss/NAME`, so names must be unique.
_OF_ALGORITHMS = frozenset(("cross_entropy", "distillation"))


class TermOptions(Section):
    """Base class of the options of a loss term; the weight is a setting that all terms share."""


class DampeningOptions(TermOptions):
    """Options of the dampening penalty (see `ternlab.objectives.dampening`); it has none."""


@dataclass(frozen=True)
class TermEntry:
    """What the registry knows about a loss term.

    Attributes:
        options: the class that validates the term's options.
        module: `"package.module:Class"` of the term.
    """

    options: type[TermOptions]
    module: str

    def __str__(self) -> str:
        return self.module


TERMS: Registry[TermEntry] = Registry(
    "loss term", "objectives", {"dampening": TermEntry(DampeningOptions, "ternlab.objectives.dampening:Dampening")}
)


def register_objective(name: str, *, options: type[TermOptions] = TermOptions, module: str) -> None:
    """Register a loss term under `name`; `objectives.NAME.weight` enables it, and it is logged as `loss/NAME`.

    Args:
        name: lower-case letters, digits and underscores.
        options: the class that validates the term's options; default: no options.
        module: `"package.module:Class"` of the term.

    Raises:
        ValueError: the name is taken, reserved or malformed, `module` has no colon, or an option is named `weight`.
    """
    if not _NAME.fullmatch(name) or name in _OF_ALGORITHMS or ":" not in module or "weight" in options.model_fields:
        raise ValueError(
            f"The loss term {name!r} in {module!r}: the name must be of lower-case letters, digits and underscores and "
            f"none of {', '.join(sorted(_OF_ALGORITHMS))}, `module` must be 'package.module:Class', and no option may "
            "be called weight."
        )
    TERMS.register(name, TermEntry(options, module))


def term_entry(name: str) -> TermEntry:
    """Return the entry of the loss term `name`.

    Raises:
        SettingsError: there is no such term; near matches are listed.
    """
    if name in _OF_ALGORITHMS:
        raise SettingsError(
            f"objectives.{name}",
            rule="belongs to the algorithm and cannot be added",
            instead="algorithm=distillation algorithm.weight=..., or leave it out",
        )
    return TERMS.entry(name)


def term_class(name: str) -> type[Any]:
    """Import and return the class of the loss term `name`."""
    term: type[Any] = imported(term_entry(name).module)
    return term
