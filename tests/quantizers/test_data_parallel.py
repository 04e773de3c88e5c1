"""Two real processes train every rule as one process does on the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from ternlab.quantizers.attach import quantize
from ternlab.quantizers.registry import RULES

pytestmark = pytest.mark.slow

PROCESSES = 2
STEPS = 3
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in RULES if name != "given"},  # it refuses random weights
    "tga plain": ("tga", {"stats_grad": False, "gradient_correction": False}),
    "tga expanded": ("tga", {"rel": {"factors": [0.05, 0.1]}}),
    "rel2": ("sws", {"rel": {"factors": [0.05, 0.1]}}),
    "ttq from one": ("ttq", {"first_scale": "one"}),
    "ttq from mean": ("ttq", {"first_scale": "mean"}),
    "lsq 4 bits a filter": ("lsq", {"bits": 4, "granularity": "filter"}),
    "lsq stable": ("lsq", {"surrogate": {"kind": "stable"}}),
}


def network(case: str) -> nn.Module:
    """Return the net of a case; no BatchNorm, whose statistics are those of half a batch."""
    rule, options = CASES[case]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4)).double()
    return quantize(model, rule, **options)


def trained(model: nn.Module, share: slice) -> dict[str, Tensor]:
    """Take the steps on a share of each batch and return the parameters."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
    for _ in range(STEPS):
        images = 0.3 * torch.randn(8, 2, 6, 6, generator=generator, dtype=torch.float64)
        targets = torch.randn(8, 4, generator=generator, dtype=torch.float64)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(images[share]), targets[share]).backward()
        optimizer.step()
    return {name.removeprefix("module."): value.detach() for name, value in model.named_parameters()}


def work(rank: int, folder: str) -> None:
    """Train all cases as process `rank` and leave the parameters in `folder`."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES)
    share = slice(4 * rank, 4 * rank + 4)
    found = {case: trained(DistributedDataParallel(network(case)), share) for case in CASES}
    distributed.destroy_process_group()
    torch.save(found, f"{folder}/{rank}.pt")


@pytest.fixture(scope="module")
def of_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(work, args=(str(folder),), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_agree_bit_for_bit_and_equal_one_process_on_the_whole_batch(
    case: str, of_processes: list[dict[str, dict[str, Tensor]]]
) -> None:
    first, second = (found[case] for found in of_processes)
    alone, before = trained(network(case), slice(None)), dict(network(case).named_parameters())
    assert first.keys() == second.keys() == alone.keys() == before.keys()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), f"{name} differs between the processes"
        torch.testing.assert_close(first[name], value, rtol=0, atol=1e-6)
        assert not torch.allclose(value, before[name], rtol=0, atol=1e-6), f"{name} is not trained"
        assert value.abs().max() < 10, f"{name} has left the sizes for which the bound is meant"
