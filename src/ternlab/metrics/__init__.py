"""What is measured on images: definition, unit, computation."""
