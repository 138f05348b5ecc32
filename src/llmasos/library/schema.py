"""The tables of the catalogue. A change here needs a migration in ``migrations/versions`` and a new
:data:`llmasos.library.revision.HEAD`.

The catalogue is an index: what a version *is* lies in its manifest. Times are ISO 8601 texts in UTC, which sort and
read the same in SQLite and PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

_DIGEST = String(71)

tables = MetaData()

versions = Table(
    "versions",
    tables,
    Column("digest", _DIGEST, primary_key=True),
    Column("kind", String(32), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("architecture", Text),
    Column("task_family", Text),
    Column("parameters", BigInteger),
    Column("context_length", BigInteger),
    Column("license", Text),
    Column("format", Text),
    Column("precision", Text),
    Column("quantization", Text),
    Column("description", Text),
    # Set where the artefact cannot be used without its base, so that the base is not removed by accident.
    Column("base_digest", _DIGEST, index=True),
    Column("created", String(40)),
    Column("published", String(40), nullable=False),
)

# An empty namespace stands for none, because NULLs are never equal in a key.
names = Table(
    "names",
    tables,
    Column("namespace", String(128), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("tag", String(128), primary_key=True),
    Column("version", _DIGEST, ForeignKey("versions.digest"), nullable=False, index=True),
    Column("updated", String(40), nullable=False),
)

# Which blobs each version needs; `path` is NULL for the configuration and the manifest.
files = Table(
    "files",
    tables,
    Column("version", _DIGEST, ForeignKey("versions.digest", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("path", Text),
    Column("digest", _DIGEST, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
)

# No foreign key: the history of a removed version stays as long as a version that came from it is here.
lineage = Table(
    "lineage",
    tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("version", _DIGEST, nullable=False),
    Column("recorded", String(40), nullable=False),
    Column("step", Text, nullable=False),
    Column("name", Text),
    Column("document", Text, nullable=False),
    Index("ix_lineage_version", "version"),
)

lineage_inputs = Table(
    "lineage_inputs",
    tables,
    Column("lineage", Integer, ForeignKey("lineage.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("role", Text, nullable=False),
    Column("digest", Text, index=True),
    Column("reference", Text),
)

# Keys of the API server. The secret itself is never stored: it has 256 random bits, so that a plain hash cannot be
# guessed back. Revoked keys stay as a record.
api_keys = Table(
    "api_keys",
    tables,
    Column("id", String(16), primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created", String(40), nullable=False),
    Column("expires", String(40)),
    Column("revoked", String(40)),
    Column("last_used", String(40)),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
)

# People who sign in to the Studio. `folded` is the name as people compare names; `password` is an argon2id hash.
users = Table(
    "users",
    tables,
    Column("id", String(16), primary_key=True),
    Column("name", Text, nullable=False),
    Column("folded", String(256), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("password", Text, nullable=False),
    Column("created", String(40), nullable=False),
    Column("signed_in", String(40)),
)

# What browsers have after signing in; `id` is a hash, as that of a key.
sessions = Table(
    "sessions",
    tables,
    Column("id", String(64), primary_key=True),
    Column("user", String(16), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("began", String(40), nullable=False),
    Column("used", String(40), nullable=False),
)

# Long work: see llmasos.runs. The folder of a run has its recipe, events and log; who may change `state` is decided by
# `state` and `attempt` together, so that of two workers one gets a run.
runs = Table(
    "runs",
    tables,
    Column("id", String(80), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("name", Text),
    Column("state", String(16), nullable=False, index=True),
    Column("resumable", Integer, nullable=False),
    Column("background", Integer, nullable=False),
    Column("accept_license", Integer, nullable=False),
    Column("recipe_folder", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("created", String(40), nullable=False),
    Column("queued", String(40), nullable=False),
    Column("spawned", String(40)),
    Column("started", String(40)),
    Column("finished", String(40)),
    Column("heartbeat", String(40)),
    Column("stop_requested", String(40)),
    Column("host", Text, nullable=False),
    Column("place", Text),
    Column("pid", Integer),
    Column("began", Text),
    Column("exit_code", Integer),
    Column("error_code", Text),
    Column("error", Text),
    Column("hint", Text),
    Column("result", Text),
)
