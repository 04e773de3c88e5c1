"""Ordinary networks that know nothing of quantization; weights from files."""
