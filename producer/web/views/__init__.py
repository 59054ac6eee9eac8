"""Values that pages and reports show: a job, a grid of texts, curves, and texts."""
