//! The forward contraction.
