"""What happened: one Exchange per request, with its Attempts."""
