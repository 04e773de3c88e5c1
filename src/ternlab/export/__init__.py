"""From trained networks to small files."""
