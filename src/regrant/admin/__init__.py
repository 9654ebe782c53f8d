"""The back office: the JSON API under `/api` for the console, the command line of others and scripts.

Imported only when its first request comes. Client keys open no door here, and the admin token opens none of the gateway.
"""
