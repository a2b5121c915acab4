"""What the executor does on the host's side: the forkserver's connection, explanations of failures."""
