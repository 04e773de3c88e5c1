"""What every part stands on: errors, files, locks, signals, random streams, registries, checked sections."""
