"""The segmentation network: labels from drawn portraits, and photographs without any."""
