"""The fleet in numbers, rolled up and counted now."""
