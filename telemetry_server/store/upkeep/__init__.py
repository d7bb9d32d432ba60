"""What keeps the database fit: retention, addresses, health."""
