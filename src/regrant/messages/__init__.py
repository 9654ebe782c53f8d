"""What is said: one model of requests, replies, streams and problems for every dialect.

A dialect decodes its bytes into these types and encodes them back; no dialect knows another. `model.py` holds requests
and whole replies, `stream.py` the events of a reply that is still being written, `fold.py` the way between the two,
`problem.py` what a client is told when something goes wrong, `catalogue.py` the models that are on offer.
"""
