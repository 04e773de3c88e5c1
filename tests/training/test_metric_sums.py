"""Counting against a brute force over all images at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ternlab.core.errors import SettingsError
from ternlab.metrics.batch import Batch
from ternlab.metrics.registry import METRICS, MetricEntry
from ternlab.training.metric_sums import MetricSums


def batches_of(sizes: list[int], classes: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, classes, generator=generator), torch.randint(classes, (size,), generator=generator))
        for size in sizes
    ]


def counted(batches: list[tuple[Tensor, Tensor]]) -> MetricSums:
    sums = MetricSums()
    for logits, labels in batches:
        sums.add(nn.functional.cross_entropy(logits, labels), logits, labels)
    return sums


def brute_force(batches: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    logits = np.concatenate([batch[0].double().numpy() for batch in batches])
    labels = np.concatenate([batch[1].numpy() for batch in batches])
    own = logits[np.arange(len(labels)), labels]
    losses = np.log(np.exp(logits).sum(1)) - own
    larger = (logits > own[:, None]).sum(1)
    return {
        "val/loss": float(losses.mean()),
        "val/top1": 100 * float((larger < 1).mean()),
        "val/top5": 100 * float((larger < 5).mean()),
    }


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), classes=st.integers(1, 12), seed=st.integers(0, 99))
def test_uneven_batches_count_as_all_images_at_once(sizes: list[int], classes: int, seed: int) -> None:
    batches = batches_of(sizes, classes, seed)
    found = counted(batches).result("val")
    expected = brute_force(batches)
    assert found["val/loss"] == pytest.approx(expected["val/loss"], rel=1e-5, abs=1e-6)
    for name in ("val/top1", "val/top5"):
        assert found[name] == pytest.approx(expected[name], abs=1e-9)


@pytest.mark.parametrize("classes", [1, 2, 4, 5])
def test_up_to_five_classes_are_all_within_the_top_five(classes: int) -> None:
    assert counted(batches_of([7, 3], classes)).result("val")["val/top5"] == 100


def test_result_starts_anew_and_is_empty_when_nothing_was_counted() -> None:
    assert MetricSums().result("val") == {}
    first, second = batches_of([5, 9], 7)
    sums = counted([first])
    sums.result("val")
    assert sums.result("val") == {}
    sums.add(nn.functional.cross_entropy(*second), *second)
    assert sums.result("val") == counted([second]).result("val")


def test_join_adds_the_sums_of_several_processes() -> None:
    mine, others = batches_of([8, 3], 6, seed=1), batches_of([5], 6, seed=2)
    remote = counted(others).sums
    assert remote is not None
    found = counted(mine).result("test", join=lambda sums: sums + remote)
    whole = brute_force([*mine, *others])
    assert found == {name.replace("val", "test"): pytest.approx(value, rel=1e-5) for name, value in whole.items()}


def test_many_small_losses_are_summed_without_loss_of_digits() -> None:
    sums = MetricSums()
    logits, labels = torch.zeros(1, 3), torch.zeros(1, dtype=torch.long)
    sums.add(torch.tensor(2.0**25), logits, labels)
    for _ in range(999):
        sums.add(torch.tensor(1.0), logits, labels)
    assert sums.result("x")["x/loss"] == (2.0**25 + 999) / 1000


def test_sums_do_not_keep_the_graph() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    labels = torch.zeros(4, dtype=torch.long)
    sums = MetricSums()
    sums.add(nn.functional.cross_entropy(logits, labels), logits, labels)
    assert sums.sums is not None and not sums.sums.requires_grad and sums.sums.dtype == torch.float64


def test_half_precision_logits_are_counted() -> None:
    logits = torch.eye(6, dtype=torch.bfloat16)
    sums = MetricSums()
    sums.add(torch.tensor(0.5, dtype=torch.bfloat16), logits, torch.arange(6))
    assert sums.result("x") == {"x/loss": 0.5, "x/top1": 100, "x/top5": 100}


def right_by_far(batch: Batch) -> Tensor:
    """How many images have the probability of their class above 0.9."""
    return (batch.logits.softmax(1).gather(1, batch.labels[:, None]) > 0.9).sum()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "far", MetricEntry("far", "...", f"{__name__}:right_by_far", unit="percent"))
    monkeypatch.setitem(METRICS, "far_share", MetricEntry("far", "...", f"{__name__}:right_by_far", unit="share"))


@pytest.mark.usefixtures("registered")
def test_a_registered_metric_is_counted_as_the_mean_over_all_images() -> None:
    batches = [(4 * logits, labels) for logits, labels in batches_of([7, 3], 4)]
    logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    expected = float((logits.softmax(1)[range(10), labels] > 0.9).double().mean())
    found = counted(batches).result("test")
    assert 0 < expected < 1
    assert found["test/far"] == pytest.approx(100 * expected) and found["test/far_share"] == pytest.approx(expected)
    assert list(found) == [f"test/{name}" for name in ("loss", "top1", "top5", "far", "far_share")]


def test_sums_of_other_metrics_are_refused(request: pytest.FixtureRequest) -> None:
    before = counted(batches_of([5], 4))
    request.getfixturevalue("registered")
    with pytest.raises(SettingsError, match=r"(?s)counts 2 metrics.*there are 4 now.*the plugins that the run"):
        MetricSums().restore(before.sums)
    sums = MetricSums()
    sums.restore(None)
    assert sums.result("train") == {}
