"""ternlab: train ternary-weight networks, and know what they cost.

Names are imported when they are first used, so that `import ternlab` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ternlab.export.info import info
    from ternlab.export.packed import load, read_codes, save
    from ternlab.export.summary import Summary, summary
    from ternlab.quantizers.attach import codes, quantize, quantized_layers
    from ternlab.quantizers.base import Codes

__version__ = "0.1.0"

_HOMES = {
    "Codes": "ternlab.quantizers.base",
    "Summary": "ternlab.export.summary",
    "codes": "ternlab.quantizers.attach",
    "info": "ternlab.export.info",
    "load": "ternlab.export.packed",
    "quantize": "ternlab.quantizers.attach",
    "quantized_layers": "ternlab.quantizers.attach",
    "read_codes": "ternlab.export.packed",
    "save": "ternlab.export.packed",
    "summary": "ternlab.export.summary",
}
__all__ = ["Codes", "Summary", "codes", "info", "load", "quantize", "quantized_layers", "read_codes", "save", "summary"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ternlab' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
