// Pins Prometheus 3.15, which is tagged v0.315.0 as a module, built by `python -m tests.backends.servers build`.
// go.sum is the module's own and the two lines of the module itself. The replace is Prometheus's own.
module spanback.test/prometheus3

go 1.26.0

require github.com/prometheus/prometheus v0.315.0

replace cloud.google.com/go => cloud.google.com/go v0.123.0
