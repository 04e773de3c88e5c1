"""Ordinary networks that know nothing of quantization."""
