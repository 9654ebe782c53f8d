"""Who vouches: everything that Regrant says to Google about identity, and how the answers are read.

`google` holds the requests and answers of the endpoints, `login` one sign-in attempt, `imports` the credential files
of other tools; these three are pure. `client` sends the requests over the transport, once each, `loopback` waits for
the browser on this machine. Nothing here knows accounts or decides their fate: an answer becomes a value (`Granted`,
`Refused`, `Unavailable`), and `accounts` draws the consequences.
"""
