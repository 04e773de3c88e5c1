"""Results of many runs: an index of their records, statistics over seeds, tables. Free of torch."""
