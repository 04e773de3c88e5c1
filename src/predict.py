"""Class and probability of image files: python src/predict.py model=FILE images=FOLDER (see conf/file/predict.yaml)."""

import sys
from pathlib import Path

from ternlab.commands.entry import run
from ternlab.commands.predict import main

if __name__ == "__main__":
    sys.exit(run(Path(__file__).parents[1] / "conf" / "file" / "predict.yaml", main))
