"""The Lightning loop: module, update rules as optimizers, callbacks, checkpoints, processes."""
