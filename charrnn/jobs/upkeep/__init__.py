"""Maintenance, pruning and health checks."""
