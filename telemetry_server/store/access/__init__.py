"""Access: tokens, sessions, and whether the keyring belongs to the database."""
