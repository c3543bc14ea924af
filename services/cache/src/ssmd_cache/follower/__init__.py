"""From a message of the stream to what is written; follower.py has the order of things."""
