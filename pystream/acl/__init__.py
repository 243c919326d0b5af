"""Who may watch what: tenants, streams, grants, keys, and the store that remembers them.

Everything in here decides on plain values. There is no socket, no media and no clock: time is always
an argument, in whole Unix seconds.
"""
