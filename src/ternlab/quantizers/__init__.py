"""Rules, one a file, attached as parametrizations; the plan says which layer has which."""
