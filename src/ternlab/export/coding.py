"""Integer codes as bytes: five trits per byte, whole bits, or entropy-coded; free of torch.

Codes are written as symbols 0 .. levels - 1. Every decoder is given the number of symbols, checks it against the bytes
before it allocates anything, and rejects bytes that no encoder would write.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ternlab.core.errors import SettingsError

Symbols = NDArray[np.uint8]

TRITS_PER_BYTE = 5
# Frequencies of the range coder add up to this; it is constriction's fixed precision of 24 bits.
_ONE = 2**24
_WORD = 4
_POWERS = np.array([1, 3, 9, 27, 81], dtype=np.uint8)
_TRITS = (np.arange(243)[:, None] // _POWERS % 3).astype(np.uint8)


class CodingError(ValueError):
    """The bytes were not written by an encoder; the message says why."""


def bits_for(levels: int) -> int:
    """Return the whole bits that hold `levels` symbols: 2 for ternary codes, 1 for binary ones."""
    return (levels - 1).bit_length()


def packed_bytes(count: int, levels: int) -> int:
    """Return the bytes that `count` codes take: five codes per byte with three levels, otherwise whole bits."""
    return -(-count // TRITS_PER_BYTE) if levels == 3 else -(-count * bits_for(levels) // 8)


def pack_trits(symbols: Symbols) -> bytes:
    """Pack symbols 0, 1, 2 at five per byte (3^5 = 243), the first the least significant."""
    filled = np.zeros(-(-symbols.size // TRITS_PER_BYTE) * TRITS_PER_BYTE, dtype=np.uint8)
    filled[: symbols.size] = symbols
    packed: NDArray[np.uint8] = filled.reshape(-1, TRITS_PER_BYTE) @ _POWERS
    return packed.tobytes()


def unpack_trits(data: bytes, count: int) -> Symbols:
    """Return `count` symbols that `pack_trits` wrote.

    Raises:
        CodingError: the number of bytes is wrong, a byte is above 242, or unused positions are not zero.
    """
    _check_bytes(data, -(-count // TRITS_PER_BYTE), count)
    packed = np.frombuffer(data, dtype=np.uint8)
    if packed.size and packed.max() >= len(_TRITS):
        raise CodingError("a byte is above 242, the largest value of five trits")
    symbols = _TRITS[packed].reshape(-1)
    return _without_filling(symbols, count)


def pack_bits(symbols: Symbols, levels: int) -> bytes:
    """Pack symbols at `bits_for(levels)` bits each, the first in the lowest bits of the first byte."""
    bits = bits_for(levels)
    if bits == 8:
        return symbols.tobytes()
    planes = np.unpackbits(symbols[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(planes.reshape(-1), bitorder="little").tobytes()


def unpack_bits(data: bytes, count: int, levels: int) -> Symbols:
    """Return `count` symbols that `pack_bits` wrote.

    Raises:
        CodingError: the number of bytes is wrong, a symbol is outside the levels, or unused positions are not zero.
    """
    bits = bits_for(levels)
    _check_bytes(data, -(-count * bits // 8), count)
    packed = np.frombuffer(data, dtype=np.uint8)
    if bits == 8:
        symbols = packed
    else:
        single = np.unpackbits(packed, bitorder="little")
        if single[count * bits :].any():
            raise CodingError("there is data after the last code")
        symbols = np.packbits(single[: count * bits].reshape(-1, bits), axis=1, bitorder="little").reshape(-1)
    if symbols.size and symbols.max() >= levels:
        raise CodingError(f"a code is outside the {levels} levels")
    return symbols


def histogram(symbols: Symbols, levels: int) -> list[int]:
    """Return how often each symbol occurs; the static model of the entropy coder."""
    return [int(count) for count in np.bincount(symbols, minlength=levels)]


def entropy_bits(counts: list[int]) -> float:
    """Return the empirical entropy of all symbols together, in bits: the bound for any static model."""
    present = np.array([count for count in counts if count], dtype=np.float64)
    # 0 and not -0 when all symbols are the same.
    return max(0.0, -float((present * np.log2(present / present.sum())).sum())) if present.size else 0.0


def pack_entropy(symbols: Symbols, counts: list[int]) -> bytes:
    """Return symbols range-coded with the frequencies `counts`, behind them their CRC-32; words are little-endian.

    The coder is constriction's range coder: words of 32 bits, a state of 64 bits, probabilities of 24 bits. Symbols
    that do not occur have no probability, and a layer of a single value needs no bytes.

    Raises:
        SettingsError: constriction is not installed.
    """
    present = _present(counts)
    if len(present) < 2:
        return b""
    constriction = _constriction()
    number = np.zeros(len(counts), dtype=np.int32)
    number[present] = np.arange(len(present))
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(number[symbols], _model(constriction, counts))
    words = np.asarray(encoder.get_compressed(), dtype="<u4")
    return words.tobytes() + _checksum(symbols)


def unpack_entropy(data: bytes, count: int, counts: list[int]) -> Symbols:
    """Return `count` symbols that `pack_entropy` wrote.

    Raises:
        CodingError: the frequencies do not add up to `count`, or the bytes do not decode to what was written.
        SettingsError: constriction is not installed.
    """
    if min(counts, default=0) < 0 or sum(counts) != count:
        raise CodingError(f"the frequencies do not add up to {count}")
    present = _present(counts)
    if len(present) < 2:
        if data:
            raise CodingError("a layer of a single value has bytes")
        return np.full(count, present[0] if present else 0, dtype=np.uint8)
    if len(data) % _WORD or not data:
        raise CodingError(f"{len(data)} bytes are not a whole number of words")
    constriction = _constriction()
    words = np.frombuffer(data[:-_WORD], dtype="<u4").astype(np.uint32)
    decoder = constriction.stream.queue.RangeDecoder(words)
    try:
        numbers = np.asarray(decoder.decode(_model(constriction, counts), count))
    except (AssertionError, ValueError) as error:
        raise CodingError(f"the range coder rejects the bytes ({error})") from error
    symbols: Symbols = np.array(present, dtype=np.uint8)[numbers]
    if not decoder.maybe_exhausted():
        raise CodingError("there is data after the last code")
    if _checksum(symbols) != data[-_WORD:]:
        raise CodingError("the decoded codes differ from the written codes")
    return symbols


def frequencies(counts: list[int]) -> list[int]:
    """Return the frequencies that the range coder uses for symbols that occur `counts` times, at least two of them.

    Each is at least 1 and their sum is 2^24; symbols that do not occur are left out. In whole numbers, so that every
    machine and version finds the same: 1 + floor(n (2^24 - m) / N) for a symbol that occurs n of N times, where m
    symbols occur; what is left of 2^24 goes to the first of the most frequent.
    """
    occurring = [count for count in counts if count]
    total, free = sum(occurring), _ONE - len(occurring)
    found = [1 + count * free // total for count in occurring]
    found[occurring.index(max(occurring))] += _ONE - sum(found)
    return found


def _present(counts: list[int]) -> list[int]:
    return [symbol for symbol, count in enumerate(counts) if count]


def _model(constriction: Any, counts: list[int]) -> Any:
    """Return constriction's model with exactly our frequencies.

    With `perfect=False` it gives each of the m symbols 1 of 2^24 and shares the rest in proportion to the numbers, by
    rounding their cumulative sums down. Whole numbers that add up to that rest, 2^24 - m, are shared without rounding,
    in float32 as in float64; so a frequency goes in less 1.
    """
    table = np.array([frequency - 1 for frequency in frequencies(counts)], dtype=np.float64)
    return constriction.stream.model.Categorical(table, perfect=False)


def _checksum(symbols: Symbols) -> bytes:
    return zlib.crc32(symbols.data).to_bytes(_WORD, "little")


def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise SettingsError(
            "packing",
            value="entropy",
            rule="constriction is not installed",
            instead="pip install 'ternlab[export]'",
        ) from None
    return constriction


def _check_bytes(data: bytes, expected: int, count: int) -> None:
    if len(data) != expected:
        raise CodingError(f"{count} codes need {expected} bytes, but there are {len(data)}")


def _without_filling(symbols: Symbols, count: int) -> Symbols:
    if symbols[count:].any():
        raise CodingError("there is data after the last code")
    return symbols[:count]
