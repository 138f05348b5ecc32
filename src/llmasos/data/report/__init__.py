"""The report: what went in, what every step did, what came out; as JSON that never changes and as a page to read."""
