"""The installations: what each one is now, and what follows from time passing."""
