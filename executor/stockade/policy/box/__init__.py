"""What the root of the box holds: mounts, and the files of the host that programs need."""
