"""The rows of schedules: slots, and the events at which hooks run."""
