"""Alembic's folder: `env.py` runs the files of `versions/`, in which each step is written by hand.

A change to the tables is a new file there, and its number is `tables.HEAD`. A step may add tables
and columns (with defaults), never change the meaning of one: while a node is upgraded, the old
program's processes still work on the new store.
"""
