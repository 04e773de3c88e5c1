"""Training algorithms by name: the objective, the procedure, and what they need from other runs."""
