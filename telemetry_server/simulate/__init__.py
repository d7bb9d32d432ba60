"""A simulated fleet, generated from a seed, for demonstrations and measurements.

    world    the choices: countries, networks, systems, releases, features
    deals    licenses, irregularities, and the copies of each deal
    lives    one copy from its first ping to its last: its states, verdicts, silences
    fleet    all copies, in batches of rows, and the ground truth about planted irregularities
    making   writes the fleet to the database

The same seed, size and time make the same rows. Pages, API and exports mark them as simulated.
"""
