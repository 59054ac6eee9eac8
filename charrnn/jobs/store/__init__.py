"""The database. No other package uses SQLAlchemy."""
