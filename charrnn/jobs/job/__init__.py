"""What a job is: frozen values, without SQL and without files."""
