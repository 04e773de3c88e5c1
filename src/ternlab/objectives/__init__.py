"""What a training minimises: a sum of named, weighted loss terms."""
