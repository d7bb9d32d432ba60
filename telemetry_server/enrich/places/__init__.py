"""Where an address is: the databases that say it, read from files and fetched."""
