"""What is measured on images: the definition and the computation of each metric, in one place."""
