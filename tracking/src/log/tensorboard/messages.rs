//! The protobuf messages of event files: those parts of TensorFlow's `event.proto` and
//! `summary.proto` that Bobbin writes. Other fields of a file are skipped when it is read.

use prost::{Enumeration, Message};

/// What a record holds.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// The step of the optimiser.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What happened.
    #[prost(oneof = "event::What", tags = "3, 5, 7")]
    pub what: Option<event::What>,
}

/// Parts of [`Event`].
pub mod event {
    /// What happened.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum What {
        /// The version of the format, in the first event of a file.
        #[prost(string, tag = "3")]
        FileVersion(String),
        /// Values under tags.
        #[prost(message, tag = "5")]
        Summary(super::Summary),
        /// The program started or stopped.
        #[prost(message, tag = "7")]
        SessionLog(super::SessionLog),
    }
}

/// Values under tags.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A value under a tag.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Where TensorBoard shows it; what is before a `/` is a group.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// Which plugin of TensorBoard shows it, where the value alone does not say so.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<SummaryMetadata>,
    /// The value.
    #[prost(oneof = "value::Data", tags = "2, 4, 5, 8")]
    pub data: Option<value::Data>,
}

/// Parts of [`Value`].
pub mod value {
    /// The value.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Data {
        /// A scalar.
        #[prost(float, tag = "2")]
        Scalar(f32),
        /// A picture.
        #[prost(message, tag = "4")]
        Image(super::Image),
        /// How values are distributed.
        #[prost(message, tag = "5")]
        Histogram(super::HistogramProto),
        /// An array.
        #[prost(message, tag = "8")]
        Tensor(super::Tensor),
    }
}

/// Which plugin shows a value.
#[derive(Clone, PartialEq, Message)]
pub struct SummaryMetadata {
    /// The plugin.
    #[prost(message, optional, tag = "1")]
    pub plugin: Option<PluginData>,
}

/// A plugin, and what it keeps with a value.
#[derive(Clone, PartialEq, Message)]
pub struct PluginData {
    /// The name of the plugin, such as `hparams` or `text`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A message of its own.
    #[prost(bytes = "vec", tag = "2")]
    pub content: Vec<u8>,
}

/// An array: of texts, or an empty one.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// What its elements are.
    #[prost(enumeration = "tensor::Type", tag = "1")]
    pub kind: i32,
    /// Its sizes.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<tensor::Shape>,
    /// Its elements, if they are texts.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub strings: Vec<Vec<u8>>,
}

/// Parts of [`Tensor`].
pub mod tensor {
    use prost::{Enumeration, Message};

    /// What elements are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
    #[repr(i32)]
    pub enum Type {
        /// Nothing that is known.
        Invalid = 0,
        /// `f32`.
        Float = 1,
        /// Texts.
        String = 7,
    }

    /// The sizes of an array; none of a single value.
    #[derive(Clone, PartialEq, Message)]
    pub struct Shape {
        /// Each size.
        #[prost(message, repeated, tag = "2")]
        pub sizes: Vec<Size>,
    }

    /// A size.
    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct Size {
        /// Number of elements.
        #[prost(int64, tag = "1")]
        pub size: i64,
    }
}

/// A picture.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    /// Rows.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Columns.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// Channels: 1 is grey, 3 is RGB, 4 is RGBA.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// A PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded: Vec<u8>,
}

/// How values are distributed.
#[derive(Clone, PartialEq, Message)]
pub struct HistogramProto {
    /// The smallest value.
    #[prost(double, tag = "1")]
    pub min: f64,
    /// The largest value.
    #[prost(double, tag = "2")]
    pub max: f64,
    /// How many values.
    #[prost(double, tag = "3")]
    pub num: f64,
    /// Their sum.
    #[prost(double, tag = "4")]
    pub sum: f64,
    /// The sum of their squares.
    #[prost(double, tag = "5")]
    pub sum_squares: f64,
    /// Where each bucket ends; it begins where the one before ends.
    #[prost(double, repeated, tag = "6")]
    pub bucket_limit: Vec<f64>,
    /// How many values are in each bucket, its end excluded.
    #[prost(double, repeated, tag = "7")]
    pub bucket: Vec<f64>,
}

/// The program started or stopped.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// Which of the two.
    #[prost(enumeration = "SessionStatus", tag = "1")]
    pub status: i32,
}

/// What the program did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum SessionStatus {
    /// Nothing that is known.
    Unspecified = 0,
    /// It started: TensorBoard forgets what it has read of this step and later ones.
    Start = 1,
    /// It stopped.
    Stop = 2,
    /// It wrote a checkpoint.
    Checkpoint = 3,
}
