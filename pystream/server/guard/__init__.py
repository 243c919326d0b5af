"""The guard: who asks too often is slowed down, who goes on is shut out, and attacks are noticed.

`limiter`: budgets of requests by address, network, grant and tenant, and bans.
"""
