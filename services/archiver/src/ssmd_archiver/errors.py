"""What ends the archiver's work."""


class Stopping(Exception):
    """The service is asked to stop while it waits for something."""
