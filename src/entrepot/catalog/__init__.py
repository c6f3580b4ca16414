"""Turns files into checked values: configuration, models, prices and scenarios are parsed here, once."""
