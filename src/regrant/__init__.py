"""Regrant: a self-hosted AI gateway that keeps its Google accounts alive.

The packages stand in the order of a request's journey: `cli`, `app`, `admin`, `gateway`, `traffic`, `pool`,
`upstream`, `accounts`, `oauth`, `dialects`, `messages`, `transport`. Each imports only packages below it.
"""

__version__ = "0.1.0"
