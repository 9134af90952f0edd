"""Drawings: what they show, how they look, and how they become part of a page."""
