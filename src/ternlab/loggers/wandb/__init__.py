"""Copies of runs at Weights & Biases, made from the runs' own files; free of torch."""
