"""The journal on disk: its segments, its one writer, its readers, and what becomes of closed segments."""
