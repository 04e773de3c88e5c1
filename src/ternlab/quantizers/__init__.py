"""Quantization rules: pure numerics, one rule per file, a registry."""
