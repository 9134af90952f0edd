"""Joining the run folders of shards into one run."""
