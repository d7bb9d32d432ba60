"""A group of pings becomes committed rows, and what they mean for each installation."""
