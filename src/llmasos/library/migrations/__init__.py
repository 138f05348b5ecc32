"""Alembic migrations of the catalogue; run by :mod:`llmasos.library.database` when a library is opened."""
