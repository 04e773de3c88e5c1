"""Training: the LightningModule, update rules as optimizers, callbacks, and what joins them."""
