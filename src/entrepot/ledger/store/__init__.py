"""The journal's entries in a database: posting, roll-ups, retention, and copies of it."""
