"""Reverse-mode differentiation of NumPy arrays; knows nothing of words."""
