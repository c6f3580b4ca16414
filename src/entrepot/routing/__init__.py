"""Which endpoint and why, as pure functions that the gateway, the replay and the market share."""
