"""Tokens, the endpoint, and the middleware."""
