"""Data that needs no download: made or read from what the platform's own dependencies carry."""
