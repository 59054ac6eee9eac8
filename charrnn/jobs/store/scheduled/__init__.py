"""The rows of schedules: slots, and the events at which hooks run; and the look for all that is due."""
