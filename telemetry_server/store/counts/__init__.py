"""Counts of the fleet: roll-ups of the past, and the present."""
