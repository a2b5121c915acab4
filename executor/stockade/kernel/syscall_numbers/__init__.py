"""System call numbers, one module per architecture, loaded only when asked for (see `kernel.architectures`)."""
