"""The pipeline: stages over shards, run by the executors of datatrove, with an account of every row."""
