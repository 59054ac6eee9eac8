"""The command line `charrnn-jobs`. Nobody imports this; code uses `charrnn.jobs.Client`."""
