"""Tables of symbolic constants as text, one module per subject, loaded by `kernel.constants` when first needed."""
