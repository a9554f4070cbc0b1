"""What runs the networks for many requests at once: slots, deadlines, batches, sessions."""
