"""Code shared by all commands: one-line errors, options, progress."""
