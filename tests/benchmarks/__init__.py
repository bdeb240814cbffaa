"""Measurements of a whole installation: real Orthanc, real node, real radiographs. `scripts/bench` runs them."""
