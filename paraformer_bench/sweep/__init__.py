"""The parent process: plans blocks, starts workers, keeps the run folder. Imports no torch."""
