"""Write a page of results: python src/report.py [sweep=ID] [out=report.html] (see conf/report.yaml)."""

import sys
from pathlib import Path

from ternlab.commands.entry import run
from ternlab.commands.report import main

if __name__ == "__main__":
    sys.exit(run(Path(__file__).parents[1] / "conf" / "report.yaml", main))
