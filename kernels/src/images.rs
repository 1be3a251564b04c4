//! Bytes to lanes.
