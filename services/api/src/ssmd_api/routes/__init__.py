"""The handlers, one module for each noun of the path."""
