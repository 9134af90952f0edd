"""Child processes: what each kind of job does, and the parent's way to follow one."""
