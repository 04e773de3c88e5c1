"""AlexNet: its settings and the network."""
