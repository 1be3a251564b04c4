//! Softmax and cross-entropy.
