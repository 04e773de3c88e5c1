"""The warning about int8 files that answer otherwise than torch."""

from __future__ import annotations

import pytest

from ternlab.export.integer_loss import warning


@pytest.mark.parametrize(
    ("int8", "words"), [(98.0, None), (99.0, None), (97.9, "loses 1.10 percentage points"), (100.2, "gains")]
)
def test_more_than_a_point_is_said(int8: float, words: str | None) -> None:
    said = warning("model.onnx", int8, 99.0)
    assert (said is None) if words is None else (said is not None and words in said and "99.00 % in torch" in said)
