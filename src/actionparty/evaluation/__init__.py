"""How well does every subject obey, and for how long: detection, metrics, probes and the report."""
