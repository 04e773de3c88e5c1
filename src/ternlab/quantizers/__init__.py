"""Quantization rules, one per file, attached as parametrizations; the plan assigns rules to layers."""
