"""Tests of the spans around model calls."""
