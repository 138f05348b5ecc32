"""Which form of the catalogue this code works with. Apart from the tables so that asking costs no import."""

from __future__ import annotations

HEAD = "0004"  # the newest migration; a test compares it with the migrations folder
VERSION_TABLE = "alembic_version"
