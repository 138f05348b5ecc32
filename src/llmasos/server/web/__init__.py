"""What all APIs share on the wire: bodies, errors, keys, limits, logs."""
