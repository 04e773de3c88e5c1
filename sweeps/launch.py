"""Train every combination of some settings: python sweeps/launch.py -m name=a,b (see conf/sweep.yaml)."""

import sys
from pathlib import Path

from ternlab.commands.entry import run
from ternlab.commands.train import main

if __name__ == "__main__":
    if not {"-m", "--multirun"} & set(sys.argv):
        sys.argv.append("-m")
    sys.argv = ["wait=false" if word == "--no-wait" else word for word in sys.argv]
    sys.exit(run(Path(__file__).parents[1] / "conf" / "sweep.yaml", main))
