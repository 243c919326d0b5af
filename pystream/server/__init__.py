"""The origin server: Trio, sockets and processes; what it serves is made in the rooms below."""
