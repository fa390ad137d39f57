"""The version, here so that nothing has to be looked up when spanback is imported."""

__version__ = "0.1.0"
