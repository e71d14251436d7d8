"""Systems that CLIP weights live in, and what they read of them."""
