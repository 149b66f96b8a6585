"""Clips: reading them, choosing their frames, and making the pixels of a model's input of them."""
