"""The identity branch: its trunk, and its head, fitted to portraits' identities."""
