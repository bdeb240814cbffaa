"""What integration tests and benchmarks share: a real Orthanc, a running node, studies and ways to send them."""
