"""Where an address is: databases that are read from files, and fetched."""
