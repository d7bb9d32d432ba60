"""What the vendor knows: products, customers, licenses, releases, and what changed in them."""
