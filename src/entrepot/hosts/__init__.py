"""Hosts that we run ourselves: a real small engine, and simulated ones that tests and the demo can trust."""
