"""A case on several devices: a process for each of them."""
