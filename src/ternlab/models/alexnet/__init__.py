"""AlexNet: settings and network."""
