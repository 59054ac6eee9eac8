"""From a request to a stored job."""
