"""Accounts in HTTP: the guard of all routes, sign-in, and the pages of people, accounts and tokens."""
