"""Records on disk -> tables -> verdicts. Reads run folders only and imports no torch."""
