"""Redis as the cache writes it.

commands.py says what a row is, redis_writer.py what can be asked for, script.py calls the script,
whose parts are in `lua/`.
"""
