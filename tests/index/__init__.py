"""The index that processes share."""
