"""A pytest plugin for dates.py: `time.sleep` by select. Python's own asks for the monotonic clock's
absolute time, which libfaketime at times takes for one past and makes an EINVAL."""

import select
import time


def sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = sleep
