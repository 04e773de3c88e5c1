"""Typed and checked settings; everything that is spent later is decided here."""
