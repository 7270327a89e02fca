"""Heads: what turns data into tokens, and a backbone's vectors into answers."""
