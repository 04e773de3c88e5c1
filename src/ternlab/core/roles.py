"""Roles of runs that other runs need."""

# The full-precision baseline of a quantized run.
BASELINE = "baseline"
