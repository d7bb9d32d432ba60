"""Commits groups of pings, and projects them to the present state of their installations."""
