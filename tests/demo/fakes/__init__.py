"""Stand-ins for what the demo starts."""
