"""A simulated fleet, generated from a seed, for demonstrations and measurements.

    world    the choices: countries, networks, systems, releases, features
    deals    licenses, irregularities, and the copies of each deal
    lives    one copy from its first ping to its last: its states, verdicts, silences
    fleet    all copies, in batches of rows, and the ground truth about planted irregularities
    making   writes the fleet to the database

With a world, the fleet is made of stories instead of deals:

    tales           what a story makes: customers, licenses, copies, and the truth
    scene           what a story makes them with
    ordinary, honest_stories, misuse_stories
    first_world, second_world   stories by share; nothing is fitted on the second
    tale_history    runs, states, verdicts and seats of the copies of a tale
    world_fleet     all tales, in batches of rows

The same seed, size and time make the same rows. Pages, API and exports mark them as simulated.
"""
