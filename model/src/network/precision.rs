//! In which precision the products of each layer are, and why.

use super::{Graph, Network, Node};
use crate::layers::Kind;
use kernels::{Convolution, Precision};

/// The precision of a layer's products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Products<'n> {
    /// The layer's name.
    pub layer: &'n str,
    /// The precision of their operands.
    pub precision: Precision,
    /// Why they are in `f32` though the network is in another precision, in a few words.
    pub reason: Option<&'static str>,
}

impl Network {
    /// The same network with the products of those layers in this precision that [suit it](Convolution::suits_bf16), in
    /// training and in evaluation.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Network {
        Network { precision, ..self }
    }

    /// The precision of its products: `f32` unless [`Network::in_precision`] says otherwise.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The layers that have products, convolutions and linear ones, with the precision of these.
    pub fn products(&self) -> Vec<Products<'_>> {
        let graph = Graph::new(self.input, &self.nodes);
        let of_node = |node| self.products_of(node, &graph);
        self.nodes.iter().filter_map(of_node).collect()
    }

    fn products_of<'n>(&'n self, node: &Node, graph: &Graph<'_>) -> Option<Products<'n>> {
        let convolution = match &node.kind {
            Kind::Conv2d(conv) => conv.kernel(graph.shape(node.inputs[0])),
            Kind::Linear(_) => None,
            _ => return None,
        };
        let layer = self.layer_name(node.number);
        let (precision, reason) = match (self.precision, convolution) {
            (Precision::F32, _) => (Precision::F32, None),
            (Precision::Bf16, Some(conv)) if conv.suits_bf16() => (Precision::Bf16, None),
            (Precision::Bf16, conv) => (Precision::F32, Some(reason(conv.as_ref()))),
        };
        Some(Products { layer, precision, reason })
    }
}

/// Why packing the operands of a layer costs more than it saves.
fn reason(convolution: Option<&Convolution>) -> &'static str {
    match convolution {
        None => "linear",
        Some(conv) if conv.groups() > 1 => "groups",
        Some(conv) if conv.output().pixels() == 1 => "one pixel",
        Some(_) => "few channels",
    }
}
