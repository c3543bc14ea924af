"""What a service that runs as a task of a test leaves behind when it is ended at once."""

import gc
import warnings


def collect_what_ended() -> None:
    """Close, without a word, the connections that a task held when it was cut off.

    Of a process the system closes them as it dies; of a task the garbage collector does, whenever
    it runs, and complains in some later test.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
