"""Fitting the identity branch: from recognition features of portraits to their identities."""
