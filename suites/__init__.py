"""Sweep definitions (``*.toml``) and the asv benchmarks (``*.py``); docs/regressions.md."""
