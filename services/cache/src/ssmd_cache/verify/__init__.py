"""Whether Redis holds what PostgreSQL says: on demand, hourly (reconcile.py), and in part all the
time (patrol.py)."""
