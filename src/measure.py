"""Measure a packed network: python src/measure.py model=FILE (see conf/file/measure.yaml)."""

import sys
from pathlib import Path

from ternlab.commands.entry import run
from ternlab.commands.measure import main

if __name__ == "__main__":
    sys.exit(run(Path(__file__).parents[1] / "conf" / "file" / "measure.yaml", main))
