"""Adapting a sentence-transformers model to pairs of a query and an item that answered it."""
