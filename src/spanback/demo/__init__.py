"""`spanback demo`: a loopback server that speaks OpenAI's wire format, and a scenario that drives the real client."""
