"""The instrument: everything that runs in the worker process, from the job to its events."""
