"""Evaluate a run's network: python src/evaluate.py run=ID (see conf/evaluate.yaml)."""

import sys
from pathlib import Path

from ternlab.commands.entry import run
from ternlab.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(run(Path(__file__).parents[1] / "conf" / "evaluate.yaml", main))
