"""What the service tells of itself: logs, metrics, times of stages, traces."""
