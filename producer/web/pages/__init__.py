"""The pages, one module for each noun: functions from a request to a response, which run in threads."""
