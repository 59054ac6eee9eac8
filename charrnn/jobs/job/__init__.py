"""The values that describe a job: frozen, without SQL and without files."""
