"""Run folders -> tables and figures -> HTML pages that need nothing else. Imports no torch."""
