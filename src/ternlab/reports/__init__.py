"""Results of many runs: an index of the records, statistics over seeds, tables, the HTML page."""
