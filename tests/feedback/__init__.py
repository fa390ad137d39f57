"""Feedback: rules, targets, placement, the wire."""
