"""Programs that train for the comparison of :mod:`training`, each in a process of its own."""
