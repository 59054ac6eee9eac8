"""The schema of every release, frozen as SQL: what migrations are tested from.

After a change of tables.py, add a migration and freeze the new schema: `python -m tests.data.schemas`
"""
