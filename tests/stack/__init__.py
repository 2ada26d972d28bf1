"""The observability stack with its real programs, without containers; `make stack` installs them."""
