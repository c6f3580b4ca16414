"""What was observed of endpoints and models: decayed, with counts and ages, and small."""
