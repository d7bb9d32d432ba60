"""The tables of the outbox, and the migrations from earlier versions."""

VERSION = 3

HARVEST = """
CREATE TABLE harvest (file TEXT PRIMARY KEY, taken TEXT NOT NULL, at REAL NOT NULL);
"""

SCHEMA = (
    """
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE counter (name TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE ping (
  sequence INTEGER PRIMARY KEY,
  reason TEXT NOT NULL,
  usage INTEGER NOT NULL,
  content TEXT NOT NULL,
  upload_id TEXT,
  acknowledged_at REAL,
  resent INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE upload (
  position INTEGER PRIMARY KEY,
  upload_id TEXT NOT NULL,
  body BLOB NOT NULL,
  encoding TEXT,
  aside INTEGER NOT NULL DEFAULT 0
);
"""
    + HARVEST
    + "PRAGMA user_version = 3;"
)

# By the version from which they start.
UPGRADES = {
    1: "ALTER TABLE upload ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;"
    + HARVEST
    + "PRAGMA user_version = 3;",
    2: HARVEST + "PRAGMA user_version = 3;",
}
