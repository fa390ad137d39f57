"""Recorded traffic of real providers, replayed through the real clients."""
