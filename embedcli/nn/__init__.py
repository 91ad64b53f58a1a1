"""Layers, losses, negative sampling, initial values and optimizers over `autodiff`."""
