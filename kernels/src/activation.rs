//! ReLU, leaky ReLU and GELU, forward and backward.
