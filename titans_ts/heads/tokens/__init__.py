"""Tokens of a vocabulary, such as bytes or bases: in by an embedding, out as probabilities."""
