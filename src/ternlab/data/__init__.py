"""Data sets as LightningDataModules with a fixed, resumable order."""
