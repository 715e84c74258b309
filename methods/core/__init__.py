"""What methods are built on: the interface, the slots of a backbone and trainable parameters."""
