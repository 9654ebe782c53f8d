"""The front door: the routes that clients call, with their keys.

`server` takes a request in, `routes` and `guard` judge where it goes and whether it may; `chat` and `relay` serve it;
`pipeline` is the journey to Google and back on one screen, with `verdict` deciding after each failure. `offer`,
`routing` and `discovery` know the models; `keys` and `key_file` the client keys; `telling` what clients are told.
"""
