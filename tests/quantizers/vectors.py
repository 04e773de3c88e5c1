"""Check values of the method, made outside this project with numpy and scipy in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ternlab.quantizers.rule_options import TGAOptions
from ternlab.quantizers.tga import TGA

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "tga_vectors.json").read_text(encoding="utf-8"))

DTYPES = [torch.float64, torch.float32]


def close(value: Tensor, expected: Any) -> None:
    """Assert 1e-10 in float64; in float32 1e-4 of the largest expected magnitude."""
    expected = torch.tensor(expected, dtype=torch.float64)
    bound = 1e-10 if value.dtype == torch.float64 else 1e-4 * float(expected.abs().max())
    torch.testing.assert_close(value.detach().double(), expected, rtol=0, atol=bound)


def rule(weight: Tensor, at: float | None = None, /, **options: Any) -> TGA:
    """Return the rule of `weight`; its threshold is set to `at` when that is given."""
    quantizer = TGA(weight, TGAOptions.model_validate(options))
    if at is not None:
        with torch.no_grad():
            quantizer.threshold.fill_(at)
    return quantizer
