"""Randomness for schedules, separate from the host's generator, which may be seeded."""

import os
from random import Random

chance = Random()  # noqa: S311  schedules, no secrets

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=chance.seed)
