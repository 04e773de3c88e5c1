"""Write a run's network to a file: python src/export.py run=ID (see conf/export.yaml)."""

import sys
from pathlib import Path

from ternlab.commands.entry import run
from ternlab.commands.export import main

if __name__ == "__main__":
    sys.exit(run(Path(__file__).parents[1] / "conf" / "export.yaml", main))
