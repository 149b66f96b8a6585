"""Many runs compared: read, grouped, tested, and written as one page or as a table."""
