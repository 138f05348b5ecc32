"""What runs in the sandbox's process. Standard library only, imports of this folder only, no import of llmasos.

The interpreter starts without site-packages, reads these files, shuts itself in, and then runs the program.
"""
