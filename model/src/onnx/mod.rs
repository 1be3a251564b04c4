//! Models as ONNX files, for ONNX Runtime and others: <https://onnx.ai>.

mod graph;

use crate::onnx_nodes::messages::*;
use crate::{Model, StatisticsError};
use kernels::Precision;
use prost::Message;

/// The operator set: the first that every ONNX Runtime since 1.12 has.
const OPSET: i64 = 17;

/// The version of the file format that belongs to it.
const IR_VERSION: i64 = 8;

impl Model {
    /// An ONNX file of this model, operator set 17.
    ///
    /// Its input `image` is a batch of any size, `[batch, channels, rows, columns]`, of pixels / 255,
    /// so from 0 to 1; normalisation is in the graph. Its output `logits` is `[batch, classes]`.
    /// Metadata are those of [`Model::metadata`]: the names of the classes among them. Dropout, which
    /// evaluation does not know, is left out. The same model gives the same bytes.
    ///
    /// All of it is `f32`, also of a network whose products are computed in bfloat16 ([`Precision::Bf16`]), whose
    /// logits differ from those of the file by the rounding of operands; its metadata and description say so.
    ///
    /// `fold_batch_norm` puts each batch norm into the weights of the convolution or linear layer
    /// right before it, in `f64`, rounded once.
    ///
    /// # Errors
    /// Those of [`Network::check_statistics`](crate::Network::check_statistics).
    pub fn to_onnx(&self, fold_batch_norm: bool) -> Result<Vec<u8>, StatisticsError> {
        self.network.check_statistics(&self.weights)?;
        let [channels, rows, columns] = self.network.input().map(|n| Extent::Value(n as i64));
        let classes = Extent::Value(self.network.classes() as i64);
        let batch = || Extent::Param("batch".into());
        let (node, initializer) = graph::graph(self, fold_batch_norm);
        let pixels = "pixels / 255, from 0 to 1; the graph normalises them";
        let graph = GraphProto {
            node,
            name: self.preset.clone(),
            initializer,
            input: vec![value("image", [batch(), channels, rows, columns].into(), pixels)],
            output: vec![value("logits", vec![batch(), classes], "a row per image")],
        };
        let metadata = self.metadata().into_iter();
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "bobbin".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: match self.network.precision() {
                Precision::F32 => "An image classifier trained by Bobbin".into(),
                Precision::Bf16 => {
                    "An image classifier trained by Bobbin with products of bfloat16 numbers; \
                                    here all is float32"
                        .into()
                }
            },
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            metadata_props: metadata
                .map(|(key, value)| StringStringEntryProto { key, value })
                .collect(),
        };
        Ok(model.encode_to_vec())
    }
}

fn value(name: &str, extents: Vec<Extent>, doc_string: &str) -> ValueInfoProto {
    let dim = extents.into_iter().map(|extent| Dimension { value: Some(extent) }).collect();
    let shape = Some(TensorShapeProto { dim });
    let tensor_type = Some(TensorTypeProto { elem_type: DataType::Float as i32, shape });
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { tensor_type }),
        doc_string: doc_string.to_owned(),
    }
}

#[cfg(test)]
mod tests;
