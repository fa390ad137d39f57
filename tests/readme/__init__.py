"""The README, section by section."""
