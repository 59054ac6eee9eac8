"""The JSON that commands print with --json: a class for each kind of object, and how it is made from what is stored.

docs/schemas has them as JSON Schema (`make docs`). Times are in UTC and ISO 8601, durations in seconds, losses in nats
per character. A value that is damaged in the database is null.
"""
