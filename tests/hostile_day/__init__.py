"""A hostile, careless day: one server as an operator starts it, customers who send all the time, and one attack after
the other. `python -m hostile_day [--short] [NAME…]` prints a table of what held; `make hostile-day` runs all of it."""
