//! The linear weight-gradient.
