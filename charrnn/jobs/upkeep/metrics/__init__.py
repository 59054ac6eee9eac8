"""Metrics for Prometheus: `definitions`, `readings` of store, broker and files, `scrape`, and a `server` of them."""
