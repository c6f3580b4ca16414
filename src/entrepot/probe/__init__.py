"""Measures a host from outside, since what a host lists is not what it does."""
