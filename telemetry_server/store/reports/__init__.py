"""What leaves the database: exports, Parquet, and roles that read the views."""
