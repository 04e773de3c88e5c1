"""The HTML page about runs, and its charts as figures."""
