"""A sweep on several machines: Ray, shards and their merging. Imports no torch."""
