"""The schema of every release, frozen as SQL: migrations are tested from these.

After a change of tables, add a migration and freeze the new schema: `python -m tests.data.schemas`
"""
