"""Runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "runs",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("resumable", sa.Integer, nullable=False),
        sa.Column("background", sa.Integer, nullable=False),
        sa.Column("accept_license", sa.Integer, nullable=False),
        sa.Column("recipe_folder", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("created", sa.String(40), nullable=False),
        sa.Column("queued", sa.String(40), nullable=False),
        sa.Column("spawned", sa.String(40)),
        sa.Column("started", sa.String(40)),
        sa.Column("finished", sa.String(40)),
        sa.Column("heartbeat", sa.String(40)),
        sa.Column("stop_requested", sa.String(40)),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("place", sa.Text),
        sa.Column("pid", sa.Integer),
        sa.Column("began", sa.Text),
        sa.Column("exit_code", sa.Integer),
        sa.Column("error_code", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("hint", sa.Text),
        sa.Column("result", sa.Text),
    )
