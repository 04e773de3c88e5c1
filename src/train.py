"""Train one run: python src/train.py model=resnet34 quant=tga (see README.md and conf/train.yaml)."""

import sys
from pathlib import Path

from ternlab.commands.entry import run
from ternlab.commands.train import main

if __name__ == "__main__":
    sys.exit(run(Path(__file__).parents[1] / "conf" / "train.yaml", main, multirun="multirun"))
