"""The edge: command lines, Hydra, terminals, exit codes."""
