"""Keys, teams, tags and their budgets: the log that operators write, and what it says."""
