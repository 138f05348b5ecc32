"""The data of tasks: where it comes from, its checksums, its rows."""
