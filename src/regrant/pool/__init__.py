"""Whose turn it is: the accounts that may serve, leases on them, and cool-downs.

`pool.Pool` is the shell, on one event loop and without I/O. It asks `selector` (pure) which of the free accounts to take, keeps
`cooldown.Cooldowns` of what Google told us to leave alone, lets requests stand in line in `waiting`, and hands out
`lease.Lease`s. `affinity` (pure) tells which conversation a request belongs to, `standing` (pure) explains an absence.

Accounts enter and leave on the word of `accounts/keeper.py`; what a failure means is judged in `upstream/faults.py`.
"""
