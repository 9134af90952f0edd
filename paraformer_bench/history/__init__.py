"""Changes over commits: asv's result files in, what changed at which commit out. No torch."""
