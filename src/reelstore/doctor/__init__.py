"""Why retrieval can't work here: checks of embeddings before training, and of towers during it."""
