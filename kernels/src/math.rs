//! exp and ln.
