"""The database: the only package that uses SQLAlchemy."""
