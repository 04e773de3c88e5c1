"""What holds for all tests."""

from __future__ import annotations

import os

# Two test processes share two cores: with one thread each they do not wait for one another.
os.environ["OMP_NUM_THREADS"] = "1"
# No test may reach W&B's servers.
os.environ.setdefault("WANDB_MODE", "offline")
