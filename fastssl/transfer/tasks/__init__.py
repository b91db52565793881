"""Tasks, each a ``Task`` with the settings of its paper as defaults."""
