"""Queries for people: queues, and rows that may be damaged."""
