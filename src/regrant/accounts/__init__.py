"""Who we are: Google accounts, kept alive.

`model` is an account and its file format; `lifecycle` decides what may happen to it; `diagnosis` explains why a grant
died; `keeper` carries the decisions out, with `flights` for refreshes under way and `notices` for what is logged;
`enrolment` adds accounts and `signin` follows a sign-in in the browser. `store` is the protocol of a place that keeps
accounts, `file_store` the one on files.
"""
