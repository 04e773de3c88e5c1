"""A plugin whose runs need others: a diamond, above which a quantized run and its baseline stand.

    TGA run -> baseline -> left, right -> root

The baseline takes its first weights from `left`, and both `left` and `right` take theirs from `root`, which is always
trained with the same learning rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ternlab.runs.needs import START, Need, register_needs
from ternlab.settings.root import Settings

# Changes of `tests.settings_for_tests.tiny_config` that make the run at the top.
NEEDY: dict[str, Any] = {"plugins": ["tests.tiny", "tests.needy"], "model": {"name": "tiny", "dropout": 0.3}}
# Which run a run in full precision is, and what it needs, is told by its dropout.
_NEEDED = {
    0.3: (("left", 0.2, (START,)), ("right", 0.1, ())),
    0.2: (("root", 0.0, (START,)),),
    0.1: (("root", 0.0, (START,)),),
}


@register_needs
def needed(settings: Settings) -> Iterable[Need]:
    """Return the runs below one in full precision."""
    if "tests.needy" not in settings.plugins or settings.quant.active:
        return ()
    return (
        Need.of(role, _with(settings, dropout), gives)
        for role, dropout, gives in _NEEDED.get(settings.model.dropout, ())
    )


def _with(settings: Settings, dropout: float) -> Settings:
    model = settings.model.model_copy(update={"dropout": dropout})
    optim = settings.optim if dropout else settings.optim.model_copy(update={"lr": 0.05})
    return settings.model_copy(update={"model": model, "optim": optim})
