"""The schema of a run, assembled from the options of its parts, typed and validated."""
