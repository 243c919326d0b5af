"""The guard: who asks too often is slowed down, and who goes on is shut out.

`limiter`: budgets of requests by address, network, grant and tenant, and bans.
"""
