"""The ssmd command."""
