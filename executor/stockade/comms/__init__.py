"""Framed messages and descriptors over unix sockets."""
