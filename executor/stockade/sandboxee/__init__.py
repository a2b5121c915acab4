"""Everything that runs on the far side of the fork: forkserver, template, init, sandboxee.

Only built-in parts of the standard library and the floors below are imported here: what the forkserver loads is copied
by every fork.
"""
