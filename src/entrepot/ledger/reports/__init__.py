"""What was used and what it cost: reports, shares, tasks, and a host's invoice beside the ledger."""
