"""CLIP models: from what a user types to a network, its layers, and files on disk."""
