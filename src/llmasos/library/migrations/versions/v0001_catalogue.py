"""The first catalogue: versions, names, files, lineage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DIGEST = sa.String(71)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "versions",
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False, index=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("architecture", sa.Text),
        sa.Column("task_family", sa.Text),
        sa.Column("parameters", sa.BigInteger),
        sa.Column("context_length", sa.BigInteger),
        sa.Column("license", sa.Text),
        sa.Column("format", sa.Text),
        sa.Column("precision", sa.Text),
        sa.Column("quantization", sa.Text),
        sa.Column("description", sa.Text),
        sa.Column("base_digest", _DIGEST, index=True),
        sa.Column("created", sa.String(40)),
        sa.Column("published", sa.String(40), nullable=False),
    )
    op.create_table(
        "names",
        sa.Column("namespace", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("tag", sa.String(128), primary_key=True),
        sa.Column("version", _DIGEST, sa.ForeignKey("versions.digest"), nullable=False, index=True),
        sa.Column("updated", sa.String(40), nullable=False),
    )
    op.create_table(
        "files",
        sa.Column("version", _DIGEST, sa.ForeignKey("versions.digest", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("path", sa.Text),
        sa.Column("digest", _DIGEST, nullable=False, index=True),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "lineage",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("version", _DIGEST, nullable=False),
        sa.Column("recorded", sa.String(40), nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("ix_lineage_version", "lineage", ["version"])
    op.create_table(
        "lineage_inputs",
        sa.Column("lineage", sa.Integer, sa.ForeignKey("lineage.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, index=True),
        sa.Column("reference", sa.Text),
    )
