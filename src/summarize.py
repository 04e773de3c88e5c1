"""Summarize a network: python src/summarize.py model=resnet18 quant=tga, or run=ID (see conf/summarize.yaml)."""

import sys
from pathlib import Path

from ternlab.commands.entry import run
from ternlab.commands.summarize import main

if __name__ == "__main__":
    sys.exit(run(Path(__file__).parents[1] / "conf" / "summarize.yaml", main))
