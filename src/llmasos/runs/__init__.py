"""Runs: long work as durable jobs, with a state in the catalogue, a folder, a log and a stream of events."""
