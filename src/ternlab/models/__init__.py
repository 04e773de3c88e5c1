"""Ordinary networks that know nothing about quantization, and loading of weights."""
