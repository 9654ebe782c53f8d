"""The HTTP/1.1 client that every outgoing call uses: model calls, OAuth calls, later webhooks.

`model` holds the values and the `Transport` protocol that callers depend on; `client` is the implementation on
httptools, with a pool of connections per origin. Nothing here knows Google, accounts or dialects, and nothing here
retries: a request is written to at most one connection once a byte of it may have been processed.
"""
