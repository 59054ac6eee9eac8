"""Completion of command lines in shells. Nothing here imports Typer or SQLAlchemy, except to write the words."""
