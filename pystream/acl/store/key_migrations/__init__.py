"""Alembic's folder of the key store, as `migrations` is that of the main store.

The numbers begin with a k: a database of the one kind is never taken for one of the other.
"""
