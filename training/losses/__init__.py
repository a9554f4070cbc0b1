"""The paper's weakly-supervised loss: every term a module, and their weighted sum."""
