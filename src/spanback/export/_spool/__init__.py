"""The durable spool: feedback is on disk before it is acknowledged, and stays there until it is delivered."""
