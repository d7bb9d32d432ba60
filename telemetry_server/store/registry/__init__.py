"""The vendor's data: products, customers, licenses, releases, and the history of their changes."""
