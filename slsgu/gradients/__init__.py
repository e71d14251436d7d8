"""The one pass: exact mean gradients of both losses, kept so that it can go on and be reused."""
