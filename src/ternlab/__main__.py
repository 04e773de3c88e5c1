"""`python -m ternlab` is the `ternlab` command."""

import sys

from ternlab.commands.cli import main

sys.exit(main())
