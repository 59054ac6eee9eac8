"""Submission of jobs: from a request to a stored job."""
