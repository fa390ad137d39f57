"""Tests of the reader and of the commands that read."""
