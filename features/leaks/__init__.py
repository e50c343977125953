"""The checks of the leak audit, a file each."""
