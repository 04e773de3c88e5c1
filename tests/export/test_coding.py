"""Packings are exact, as small as they should be, and as they were in the first version of the format."""

from __future__ import annotations

import bisect
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ternlab.core.errors import SettingsError
from ternlab.export import coding
from ternlab.export.coding import CodingError

LEVELS = st.integers(2, 256)


@st.composite
def symbols_of(draw: st.DrawFn, levels: int | None = None) -> tuple[np.ndarray, int]:
    levels = draw(LEVELS) if levels is None else levels
    most = draw(st.integers(1, levels))  # often only some of the levels occur
    values = draw(st.lists(st.integers(levels - most, levels - 1), max_size=300))
    return np.array(values, dtype=np.uint8), levels


def sparse(count: int, zeros: float, seed: int = 0) -> np.ndarray:
    """Return ternary symbols of which about `zeros` are 1 (the code 0)."""
    drawn = np.random.default_rng(seed).random(count)
    return np.where(drawn < zeros, 1, np.where(drawn < (1 + zeros) / 2, 0, 2)).astype(np.uint8)


def entropy_coded(symbols: np.ndarray, levels: int) -> tuple[bytes, list[int]]:
    counts = coding.histogram(symbols, levels)
    return coding.pack_entropy(symbols, counts), counts


@given(symbols_of(3))
def test_trits_come_back_in_the_bytes_that_they_should_take(case: tuple[np.ndarray, int]) -> None:
    symbols, _ = case
    data = coding.pack_trits(symbols)
    assert len(data) == math.ceil(symbols.size / 5) == coding.packed_bytes(symbols.size, 3)
    assert np.array_equal(coding.unpack_trits(data, symbols.size), symbols)


@given(symbols_of())
def test_bits_come_back_in_the_bytes_that_they_should_take(case: tuple[np.ndarray, int]) -> None:
    symbols, levels = case
    data = coding.pack_bits(symbols, levels)
    bits = next(bits for bits in range(1, 9) if 2**bits >= levels)
    assert len(data) == math.ceil(symbols.size * bits / 8)
    assert levels == 3 or coding.packed_bytes(symbols.size, levels) == len(data)
    assert np.array_equal(coding.unpack_bits(data, symbols.size, levels), symbols)


@given(symbols_of())
def test_entropy_codes_come_back_within_their_bound(case: tuple[np.ndarray, int]) -> None:
    symbols, levels = case
    data, counts = entropy_coded(symbols, levels)
    assert np.array_equal(coding.unpack_entropy(data, symbols.size, counts), symbols)
    assert len(data) <= 1.01 * coding.entropy_bits(counts) / 8 + 64


@given(st.binary(max_size=20), st.integers(0, 105))
def test_trits_are_read_from_nothing_but_what_is_written(data: bytes, count: int) -> None:
    try:
        symbols = coding.unpack_trits(data, count)
    except CodingError:
        return
    assert symbols.size == count and symbols.max(initial=0) < 3
    assert coding.pack_trits(symbols) == data


@given(st.binary(max_size=20), st.integers(0, 170), LEVELS)
def test_bits_are_read_from_nothing_but_what_is_written(data: bytes, count: int, levels: int) -> None:
    try:
        symbols = coding.unpack_bits(data, count, levels)
    except CodingError:
        return
    assert symbols.size == count and symbols.max(initial=0) < levels
    assert coding.pack_bits(symbols, levels) == data


@given(symbols_of(), st.data())
def test_a_changed_entropy_code_never_gives_other_codes(case: tuple[np.ndarray, int], data: st.DataObject) -> None:
    symbols, levels = case
    written, counts = entropy_coded(symbols, levels)
    assume(written)
    place = data.draw(st.integers(0, 8 * len(written) - 1))
    flipped = bytearray(written)
    flipped[place // 8] ^= 1 << place % 8
    cut = written[: data.draw(st.integers(0, len(written) - 1))]
    longer = written + data.draw(st.binary(min_size=1, max_size=12))
    for changed in (bytes(flipped), cut, longer):
        try:
            assert np.array_equal(coding.unpack_entropy(changed, symbols.size, counts), symbols)
        except CodingError:
            continue


@given(st.binary(max_size=40), st.lists(st.integers(-3, 10**30), max_size=5), st.integers(0, 50))
def test_any_entropy_code_is_read_or_refused(data: bytes, counts: list[int], count: int) -> None:
    try:
        symbols = coding.unpack_entropy(data, count, counts)
    except CodingError:
        return
    assert coding.histogram(symbols, len(counts)) == counts


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [
        (b"\xf3", 5, "above 242"),
        (b"\x03", 1, "after the last code"),
        (b"\x00\x00", 5, "5 codes need 1 bytes, but there are 2"),
        (b"", 10**30, "bytes"),
    ],
)
def test_wrong_trits_are_named(data: bytes, count: int, message: str) -> None:
    with pytest.raises(CodingError, match=message):
        coding.unpack_trits(data, count)


def test_codes_beyond_the_levels_are_named() -> None:
    with pytest.raises(CodingError, match="outside the 3 levels"):
        coding.unpack_bits(b"\x03", 1, 3)
    with pytest.raises(CodingError, match="after the last code"):
        coding.unpack_bits(b"\x04", 1, 3)


def test_wrong_entropy_codes_are_named() -> None:
    symbols = sparse(1000, 0.6)
    data, counts = entropy_coded(symbols, 3)
    other = [counts[0] + 1, counts[1] - 1, counts[2]]
    for changed, table, message in [
        (data, [*counts[:2], counts[2] + 1], "do not add up to 1000"),
        (data, [1001, -1, 0], "do not add up"),
        (data[:-1], counts, "whole number of words"),
        (b"", counts, "whole number of words"),
        (b"x", [1000, 0, 0], "single value has bytes"),
        (data[:-4] + b"1234", counts, "differ from the written codes"),
        (data, other, "differ from the written codes|rejects|after the last"),
        (data + bytes(400), counts, "after the last code"),
    ]:
        with pytest.raises(CodingError, match=message):
            coding.unpack_entropy(changed, 1000, table)


@pytest.mark.parametrize("zeros", [0.0, 1 / 3, 0.5, 0.9, 0.999, 0.999999, 1.0])
@pytest.mark.parametrize("count", [100_000, 1_000_003])
def test_sizes_are_within_their_bounds(zeros: float, count: int) -> None:
    symbols = sparse(count, zeros)
    assert 8 * len(coding.pack_trits(symbols)) / count <= 1.6 * 1.005
    data, counts = entropy_coded(symbols, 3)
    shares = [each / count for each in counts if each]
    bound = -count * sum(share * math.log2(share) for share in shares)
    assert coding.entropy_bits(counts) == pytest.approx(bound)
    assert len(data) <= 1.01 * bound / 8 + 64
    # Not below what no static model can reach, or the bound were not one.
    assert len(data) >= bound / 8 - 8 or not data
    assert np.array_equal(coding.unpack_entropy(data, count, counts), symbols)


@pytest.mark.parametrize("levels", [2, 3, 16, 256])
@pytest.mark.parametrize("place", [0, 500_000, 999_999])
def test_one_odd_weight_in_a_million_takes_a_few_bytes(levels: int, place: int) -> None:
    symbols = np.full(1_000_000, levels // 2, dtype=np.uint8)
    symbols[place] = levels - 1 if levels > 2 else 0
    data, counts = entropy_coded(symbols, levels)
    assert len(data) <= 1.01 * coding.entropy_bits(counts) / 8 + 64
    assert np.array_equal(coding.unpack_entropy(data, symbols.size, counts), symbols)
    assert coding.pack_entropy(symbols[:0], [0] * levels) == b""
    assert str(coding.entropy_bits([5, *[0] * levels])) == str(coding.entropy_bits([0])) == "0.0"


def test_eight_bits_of_a_bell_are_within_the_bound() -> None:
    normal = np.random.default_rng(0).normal(128, 12, 200_000)
    symbols = np.clip(normal, 0, 255).round().astype(np.uint8)
    data, counts = entropy_coded(symbols, 256)
    assert len(data) <= 1.01 * coding.entropy_bits(counts) / 8 + 64
    assert np.array_equal(coding.unpack_entropy(data, symbols.size, counts), symbols)


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=256))
@settings(max_examples=200)
def test_frequencies_are_whole_and_fill_the_precision(counts: list[int]) -> None:
    occurring = [count for count in counts if count]
    assume(len(occurring) > 1)
    found = coding.frequencies(counts)
    assert sum(found) == 2**24 and min(found) >= 1 and len(found) == len(occurring)
    ranked = [frequency for _, frequency in sorted(zip(occurring, found, strict=True))]
    assert ranked == sorted(ranked)


# Written by the first version of the format. They must be read for ever; when one of these fails, the format has
# changed and needs another version.
GOLDEN_SYMBOLS = [0, 1, 2, 1, 1, 1, 0, 2, 1, 1, 2, 2, 1]
GOLDEN_TRITS = "817f11"
GOLDEN_BITS = "6485a501"
GOLDEN_ENTROPY = "9b94b5166ba50f76"
GOLDEN_EIGHT = "6ecd4600287b645be060a137e2452177"


def test_the_first_version_is_still_written_and_read() -> None:
    symbols = np.array(GOLDEN_SYMBOLS, dtype=np.uint8)
    counts = coding.histogram(symbols, 3)
    assert coding.pack_trits(symbols).hex() == GOLDEN_TRITS
    assert coding.pack_bits(symbols, 3).hex() == GOLDEN_BITS
    assert coding.pack_entropy(symbols, counts).hex() == GOLDEN_ENTROPY
    assert coding.unpack_trits(bytes.fromhex(GOLDEN_TRITS), 13).tolist() == GOLDEN_SYMBOLS
    assert coding.unpack_bits(bytes.fromhex(GOLDEN_BITS), 13, 3).tolist() == GOLDEN_SYMBOLS
    assert coding.unpack_entropy(bytes.fromhex(GOLDEN_ENTROPY), 13, counts).tolist() == GOLDEN_SYMBOLS
    squares = (np.arange(20) ** 2 // 2).astype(np.uint8)
    table = coding.histogram(squares, 256)
    assert coding.pack_entropy(squares, table).hex() == GOLDEN_EIGHT
    assert np.array_equal(coding.unpack_entropy(bytes.fromhex(GOLDEN_EIGHT), 20, table), squares)


def range_decoded(data: bytes, count: int, counts: list[int]) -> list[int]:
    """Decode by the description alone: 32-bit words, a state of 64 bits, and the frequencies out of 2^24."""
    words = itertools.chain(np.frombuffer(data[:-4], dtype="<u4").tolist(), itertools.repeat(0))
    present = [symbol for symbol, often in enumerate(counts) if often]
    table = coding.frequencies(counts)
    ends = list(itertools.accumulate(table, initial=0))
    lower, width, point, mask = 0, 2**64 - 1, next(words) << 32 | next(words), 2**64 - 1
    found = []
    for _ in range(count):
        step = width >> 24
        number = bisect.bisect_right(ends, (point - lower & mask) // step) - 1
        found.append(present[number])
        lower, width = lower + step * ends[number] & mask, step * table[number]
        if width < 2**32:
            lower, width, point = lower << 32 & mask, width << 32, point << 32 & mask | next(words)
    return found


@given(symbols_of())
@settings(max_examples=50)
def test_the_range_coder_uses_exactly_our_frequencies(case: tuple[np.ndarray, int]) -> None:
    symbols, levels = case
    data, counts = entropy_coded(symbols, levels)
    assume(data)
    assert range_decoded(data, symbols.size, counts) == symbols.tolist()


def test_the_range_coder_uses_exactly_our_frequencies_where_they_are_extreme() -> None:
    symbols = sparse(30_000, 0.9995, seed=1)
    data, counts = entropy_coded(symbols, 3)
    assert 0 < min(counts) < 20
    assert range_decoded(data, symbols.size, counts) == symbols.tolist()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = sparse(100, 0.5)
    data, counts = entropy_coded(symbols, 3)
    monkeypatch.setitem(sys.modules, "constriction", None)
    for call in (
        lambda: coding.pack_entropy(symbols, counts),
        lambda: coding.unpack_entropy(data, 100, counts),
    ):
        with pytest.raises(SettingsError, match=r"constriction is not installed\n.*pip install 'ternlab\[export\]'"):
            call()
    # Other packings, and layers of one value, need nothing.
    assert np.array_equal(coding.unpack_trits(coding.pack_trits(symbols), 100), symbols)
    assert coding.unpack_entropy(b"", 3, [0, 3, 0]).tolist() == [1, 1, 1]


def test_codes_and_container_are_free_of_torch() -> None:
    program = (
        "import sys, ternlab.export.coding, ternlab.export.container, ternlab.export.header; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
