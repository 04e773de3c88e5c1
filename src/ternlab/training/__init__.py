"""Training with Lightning: module, update rules as optimizers, callbacks, checkpoints, processes."""
