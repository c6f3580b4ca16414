"""Entrepot: a self-hosted inference cloud that sends each request where its answer costs least."""
