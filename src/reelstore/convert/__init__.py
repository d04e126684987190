"""Embeddings in others' files -> a store, and a store's rows -> files for others."""
