//! What a run writes down while it goes on.
//!
//! A log grows by whole records; when a run is resumed, what lies beyond the checkpoint is cut off
//! first, so that no step is told twice.

mod appender;
pub mod metrics;
pub mod tensorboard;
