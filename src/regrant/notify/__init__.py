"""Who is told: webhooks that hear once when an incident begins and once when it ends.

What an incident is, is decided in `accounts/incidents.py`; nothing here ever runs on the path of a request.
"""
