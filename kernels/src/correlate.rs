//! The convolution weight-gradient.
