"""Runs the same routing core on traces under a simulated clock, so that a policy is tried before it runs."""
