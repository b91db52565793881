"""What every command shares: one-line errors, options, progress."""
