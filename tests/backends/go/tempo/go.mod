// Pins Grafana Tempo 2.8, built by `python -m tests.backends.servers build`.
// Tempo's tags are no valid module versions, so this is a pseudo-version: its hash in go.sum was
// computed from the project's commit 87c2dc380cec, and the lines the checksum database does not
// serve come from the go.sum inside the module. The replaces are Tempo's own.
module spanback.test/tempo

go 1.25.0

require github.com/grafana/tempo v1.5.1-0.20250529124718-87c2dc380cec

replace (
	github.com/hashicorp/memberlist => github.com/grafana/memberlist v0.3.1-0.20220708130638-bd88e10a3d91
	k8s.io/api => k8s.io/api v0.25.0
	k8s.io/client-go => k8s.io/client-go v0.25.0
)
