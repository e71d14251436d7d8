"""Which layer, which way, how far: from gradients to an edit."""
