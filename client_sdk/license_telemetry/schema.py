"""The tables of the outbox, and how the file of an earlier version becomes today's."""

SCHEMA = """
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
PRAGMA user_version = 2;
"""

# Version 1 becomes version 2.
UPGRADE = """
ALTER TABLE upload ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 2;
"""
