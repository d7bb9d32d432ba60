"""A fleet that does not exist: made up from a seed, for demonstrations and for measuring.

    world    what there is to choose from: countries, networks, systems, releases, features
    deals    who bought what, who cheats, which copies there are
    lives    one copy from its first ping to its last: its states, verdicts, silences
    fleet    all of them, in batches of rows, and the truth about what was planted
    making   into the database

The same seed, size and time make the same rows. Whatever shows them says that they are simulated.
"""
