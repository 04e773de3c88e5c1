"""What every part of ternlab stands on: checked sections of settings. Imports nothing above it."""
