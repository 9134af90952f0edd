"""Kernel timelines: what a trace of `torch.profiler` says about work side by side. No torch."""
