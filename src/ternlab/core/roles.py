"""Roles of the runs that another run needs."""

# The full-precision twin of a quantized run.
BASELINE = "baseline"
