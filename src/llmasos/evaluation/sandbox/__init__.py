"""Running programs that a model wrote: in a process that cannot reach anything, with limits, and a verdict."""
