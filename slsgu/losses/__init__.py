"""What is ascended to forget and held to keep, and what images are captioned with. Pure."""
