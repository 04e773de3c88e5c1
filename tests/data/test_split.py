"""The validation split."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ternlab.data.split import split

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(torch.tensor)
FRACTION = st.floats(0, 0.9)
SEED = st.integers(0, 2**40)


@settings(max_examples=80)
@given(LABELS, FRACTION, SEED)
def test_every_image_is_in_exactly_one_part(labels: torch.Tensor, fraction: float, seed: int) -> None:
    train, held = split(labels, fraction, seed)
    assert sorted(train.tolist() + held.tolist()) == list(range(len(labels)))


@settings(max_examples=80)
@given(LABELS, FRACTION, SEED)
def test_each_class_gives_its_share_within_one_image(labels: torch.Tensor, fraction: float, seed: int) -> None:
    _, held = split(labels, fraction, seed)
    of_held = Counter(labels[held].tolist())
    for label, count in Counter(labels.tolist()).items():
        assert of_held[label] < count, "every class keeps a training image"
        if count - 1 >= count * fraction + 1:
            assert abs(of_held[label] - count * fraction) < 1


def test_total_is_exact_when_no_class_alone_has_a_whole_image() -> None:
    labels = torch.arange(20).repeat_interleave(5)
    assert len(split(labels, 0.1, 0)[1]) == 10


def test_seed_decides_and_zero_is_a_seed() -> None:
    labels = torch.zeros(50, dtype=torch.int64)
    assert split(labels, 0.2, 0)[1].tolist() == split(labels, 0.2, 0)[1].tolist()
    assert split(labels, 0.2, 0)[1].tolist() != split(labels, 0.2, 1)[1].tolist()


def test_training_order_is_shuffled() -> None:
    labels = torch.arange(10).repeat_interleave(10)
    train, _ = split(labels, 0.0, 0)
    assert train.tolist() != sorted(train.tolist())
    assert len(set(labels[train[:20]].tolist())) > 2


def test_global_generator_is_neither_used_nor_moved() -> None:
    labels = torch.zeros(50, dtype=torch.int64)
    torch.manual_seed(1)
    first = split(labels, 0.2, 0)[0]
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(split(labels, 0.2, 0)[0], first)
    assert torch.equal(torch.get_rng_state(), before)
