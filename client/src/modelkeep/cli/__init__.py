"""The `modelkeep` command. Each module of commands is loaded when one of them is called."""
