// Pins Jaeger v2, built by `python -m tests.backends.servers build`.
// Jaeger 2.13 is tagged v1.76.0 too, and only that tag is a valid module version.
// The go.sum lines the checksum database does not serve come from the go.sum inside the module.
module spanback.test/jaeger

go 1.25.0

require github.com/jaegertracing/jaeger v1.76.0
