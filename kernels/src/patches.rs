//! The im2col matrix as a view.
