"""Where it goes: Google's model APIs.

`google` writes the requests, `faults` judges the answers that are no success (with `error_body` and `refusals`).
"""
