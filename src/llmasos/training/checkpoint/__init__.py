"""States of a training run on disk, from which it goes on exactly."""
