"""Data modules, readers, tokenisers, batching and collation; knows nothing of models."""
