"""The HTTP/1.1 server: client connections, and the requests on them. What is answered is its callers' affair."""
