"""How weights are changed: optimisers, parameter groups and learning-rate schedules."""
