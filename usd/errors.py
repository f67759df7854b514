"""The one exception class that commands show as a single line."""


class UsdError(Exception):
    """Bad input. The message names the file, key or parameter, and the remedy."""
