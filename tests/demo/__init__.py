"""The demo: its loopback server, its scenario, its report."""
