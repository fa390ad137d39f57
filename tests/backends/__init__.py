"""Tests against the real OpenTelemetry Collector, Jaeger and Grafana Tempo."""
