"""Layers, losses, first numbers and optimizers over `autodiff`."""
