"""Support access that customers grant for a case, sealed on their side and opened here under audit.

sealed_format    opens what the three producers seal: RFC 9180, bound to case, key and expiry
support_keys     the weekly private keys, the signed list of public ones, the SSH authority: files
ssh_certificate  short-lived certificates of the SSH authority
grant_upload     the requests of installations
opening          the conditions of an opening, its audit entry, and only then the plaintext
store            the tables
routes           the pages of the support team
customer_routes  the addresses for customers
"""
