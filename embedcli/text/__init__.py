"""Bytes to documents, tokens and ids."""
