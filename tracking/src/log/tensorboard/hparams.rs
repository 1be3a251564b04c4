//! Summaries of TensorBoard's plugins: HParams, which compares runs by what they are made of, and Text.
//!
//! A session of HParams is a directory of event files: `_hparams_/session_start_info` gives the
//! hyperparameters their values, the results are the curves in the directories below, and
//! `_hparams_/session_end_info` tells how it ended. Both are metadata of an empty value. There is no
//! `_hparams_/experiment`: TensorBoard would take the one of the first run as true of all runs, which may have
//! other optimizers or no validation; without it, it looks at each. The messages are those of TensorBoard's
//! `plugins/hparams/plugin_data.proto` and `api.proto`.

use super::messages::{PluginData, SummaryMetadata, Tensor, Value, tensor, value::Data};
use prost::{Enumeration, Message, Oneof};
use std::collections::BTreeMap;
use toml::Value as Field;

/// The values of the hyperparameters.
pub(super) fn session_start(fields: &BTreeMap<String, Field>, wall_time: f64) -> Value {
    let value = |field: &Field| {
        let kind = match field {
            Field::Boolean(value) => Kind::Bool(*value),
            Field::Integer(value) => Kind::Number(*value as f64),
            Field::Float(value) => Kind::Number(*value),
            field => Kind::String(crate::fields::plain(field)),
        };
        HParam { kind: Some(kind) }
    };
    let hparams = fields.iter().map(|(name, field)| (name.clone(), value(field))).collect();
    let info = SessionStartInfo { hparams, start_time: wall_time };
    metadata("_hparams_/session_start_info", What::SessionStart(info))
}

/// How a session ended.
pub(super) fn session_end(success: bool, wall_time: f64) -> Value {
    let status = if success { Status::Success } else { Status::Failure };
    let info = SessionEndInfo { status: status.into(), end_time: wall_time };
    metadata("_hparams_/session_end_info", What::SessionEnd(info))
}

/// A text in Markdown.
pub(super) fn text(tag: &str, markdown: &str) -> Value {
    let tensor = Tensor {
        kind: tensor::Type::String.into(),
        shape: Some(tensor::Shape::default()),
        strings: vec![markdown.as_bytes().to_vec()],
    };
    let plugin = PluginData { name: "text".into(), content: vec![] };
    let metadata = Some(SummaryMetadata { plugin: Some(plugin) });
    Value { tag: tag.into(), metadata, data: Some(Data::Tensor(tensor)) }
}

/// A value that is nothing but its metadata.
fn metadata(tag: &str, what: What) -> Value {
    let content = HParamsPluginData { version: 0, what: Some(what) }.encode_to_vec();
    let plugin = PluginData { name: "hparams".into(), content };
    let nothing = Tensor {
        kind: tensor::Type::Float.into(),
        shape: Some(tensor::Shape { sizes: vec![tensor::Size { size: 0 }] }),
        strings: vec![],
    };
    let metadata = Some(SummaryMetadata { plugin: Some(plugin) });
    Value { tag: tag.into(), metadata, data: Some(Data::Tensor(nothing)) }
}

#[derive(Clone, PartialEq, Message)]
struct HParamsPluginData {
    #[prost(int32, tag = "1")]
    version: i32,
    #[prost(oneof = "What", tags = "3, 4")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(message, tag = "3")]
    SessionStart(SessionStartInfo),
    #[prost(message, tag = "4")]
    SessionEnd(SessionEndInfo),
}

#[derive(Clone, PartialEq, Message)]
struct SessionStartInfo {
    #[prost(btree_map = "string, message", tag = "1")]
    hparams: BTreeMap<String, HParam>,
    #[prost(double, tag = "5")]
    start_time: f64,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
struct HParam {
    #[prost(oneof = "Kind", tags = "2, 3, 4")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
}

#[derive(Clone, PartialEq, Message)]
struct SessionEndInfo {
    #[prost(enumeration = "Status", tag = "1")]
    status: i32,
    #[prost(double, tag = "2")]
    end_time: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
enum Status {
    Unknown = 0,
    Success = 1,
    Failure = 2,
    Running = 3,
}
