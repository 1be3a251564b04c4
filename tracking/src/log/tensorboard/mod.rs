//! Event files, as TensorBoard reads them.
//!
//! A file is a sequence of records (`records.rs`), a record is an event (`messages.rs`): the first
//! names the version of the format, others bring scalars, histograms and images of a step under a
//! tag. TensorBoard joins the files of a directory in the order of their names.

mod histogram;
mod hparams;
mod messages;
mod reader;
mod records;
mod writer;

pub use messages::{
    Event, HistogramProto, Image, PluginData, SessionLog, SessionStatus, Summary, SummaryMetadata,
    Tensor, Value, event, tensor, value,
};
pub use reader::read_events;
pub use writer::EventWriter;
