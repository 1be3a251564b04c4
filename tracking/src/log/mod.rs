//! What a run writes down while it goes on.
//!
//! A log grows by whole records; when a run is resumed, what lies beyond the checkpoint is cut off
//! first, so that no step is told twice.

pub(crate) mod appender;
pub(crate) mod from_end;
pub mod measures;
pub mod metrics;
pub(crate) mod tail;
pub mod tensorboard;
