"""Commands: the edge where configuration, files, terminals and exit codes are."""
