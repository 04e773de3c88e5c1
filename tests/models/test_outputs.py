"""Which part of a network's output are the logits."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from torch import nn

from ternlab.core.errors import SettingsError
from ternlab.models.outputs import LogitsOnly, logits_of

LOGITS, OTHER = torch.randn(2, 3), torch.randn(2, 3)
GoogLeNetOutputs = namedtuple("GoogLeNetOutputs", ["logits", "aux_logits2", "aux_logits1"])


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, OTHER),
        [LOGITS],
        GoogLeNetOutputs(LOGITS, OTHER, None),
        {"aux": OTHER, "out": LOGITS},
        OrderedDict(hidden_states=(OTHER,), logits=LOGITS, out=OTHER),
        ((LOGITS, OTHER), OTHER),
    ],
)
def test_logits_are_found(output: Any) -> None:
    assert logits_of(output) is LOGITS


@pytest.mark.parametrize("output", [None, (), {"loss": OTHER}, {"logits": None}, "logits", (None, LOGITS)])
def test_other_outputs_are_refused_with_a_remedy(output: Any) -> None:
    with pytest.raises(SettingsError, match=r"the network returns no logits\n  instead: return a tensor"):
        logits_of(output)


def test_only_logits_leave_the_wrapped_network() -> None:
    class Two(nn.Linear):
        def forward(self, images: torch.Tensor) -> Any:
            return super().forward(images), OTHER

    network = Two(4, 3)
    images = torch.randn(2, 4)
    assert torch.equal(LogitsOnly(network)(images), network(images)[0])
