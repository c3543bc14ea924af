"""Redis as the cache writes it.

redis_writer.py has all that can be asked for; script.py calls the script in `lua/`.
"""
