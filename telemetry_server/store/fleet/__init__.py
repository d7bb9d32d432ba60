"""The installations: the present state of each, their verdicts, lifecycle and hostnames."""
