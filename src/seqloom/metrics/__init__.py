"""Metrics as sums and counts that reduce exactly over ranks, and corpus scores."""
