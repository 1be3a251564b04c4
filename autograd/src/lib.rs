//! Differentiation of what Bobbin computes. Under construction.

pub mod check;
