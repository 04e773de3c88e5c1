"""Seeds of torch's generator; apart from the Lightning module, so that building a network does not import Lightning."""

from __future__ import annotations

import hashlib


def batch_seed(*parts: int) -> int:
    """Return a seed for torch from whole numbers, well mixed, below 2**63."""
    digest = hashlib.sha256(",".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
