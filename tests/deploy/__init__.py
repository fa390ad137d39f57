"""Tests of what is in `deploy/`, on the real engines."""
