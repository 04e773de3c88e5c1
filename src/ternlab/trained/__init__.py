"""Networks of finished runs: loaded, evaluated, summarized, exported."""
