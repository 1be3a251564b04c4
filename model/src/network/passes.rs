//! Which layers are computed in one pass: for a tape and for a few images alike, so that both have the same bits.

use super::{Graph, Node};
use crate::layers::{Kind, MaxPool2d};
use kernels::{Activation, Window};

/// One pass over the activations, which begins with a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pass {
    /// A layer that gives its input as it is.
    Same,
    /// A layer, and the activation after it where the layer takes it.
    Layer { activation: Option<Activation> },
    /// A convolution into whose weights the batch norm after it goes: in evaluation its statistics are constants.
    /// A second input is added to it, in its room, before the activation.
    NormalisedConvolution {
        /// The index of the batch norm.
        norm: usize,
        activation: Option<Activation>,
    },
    /// A convolution, ReLU and a max-pool that halves rows and columns.
    PooledConvolution,
    /// Batch norm, ReLU and a max-pool that halves rows and columns.
    PooledNorm,
}

/// The pool that halves.
pub(crate) fn halving() -> Window {
    Window::new([2, 2]).stride(2)
}

impl Pass {
    /// The values that a pass reads that begins with this layer and ends with that.
    pub(crate) fn inputs(self, graph: &Graph<'_>, first: usize, last: usize) -> Vec<usize> {
        let mut inputs = graph.nodes[first].inputs.clone();
        if let Pass::NormalisedConvolution { norm, .. } = self
            && last != norm
        {
            inputs.extend(summed(graph, first, norm).map(|(_, other)| other));
        }
        inputs
    }

    /// The pass that begins with a layer, and the last layer in it.
    pub(crate) fn new(graph: &Graph<'_>, first: usize, is_training: bool) -> (Pass, usize) {
        let node = &graph.nodes[first];
        if node.operation().is_identity(&graph.shapes(node), is_training) {
            return (Pass::Same, first);
        }
        let pool = halved(graph, first);
        match &node.kind {
            Kind::Conv2d(_) => {
                let norm = graph.only_reader(first).filter(|next| is_norm(&graph.nodes[*next]));
                match (norm, pool) {
                    // Unless batch norm and max-pool are one pass.
                    (Some(norm), _) if !is_training && halved(graph, norm).is_none() => {
                        let last = summed(graph, first, norm).map_or(norm, |(sum, _)| sum);
                        let (end, activation) = activated(graph, last).unzip();
                        let pass = Pass::NormalisedConvolution { norm, activation };
                        (pass, end.unwrap_or(last))
                    }
                    (_, Some(pool)) => (Pass::PooledConvolution, pool),
                    _ => with_activation(graph, first),
                }
            }
            Kind::BatchNorm2d(_) => match pool {
                Some(pool) => (Pass::PooledNorm, pool),
                None => with_activation(graph, first),
            },
            _ => with_activation(graph, first),
        }
    }
}

/// The sum that alone reads a batch norm, and the other value in it, which is there before the pass that begins with
/// layer `first`.
fn summed(graph: &Graph<'_>, first: usize, norm: usize) -> Option<(usize, usize)> {
    let sum = graph.only_reader(norm)?;
    let node = &graph.nodes[sum];
    let [a, b] = node.inputs[..] else { return None };
    let other = if a == norm + 1 { b } else { a };
    (matches!(node.kind, Kind::Add(_)) && other <= first).then_some((sum, other))
}

/// A layer with the activation after it, if there is one that it takes.
fn with_activation(graph: &Graph<'_>, first: usize) -> (Pass, usize) {
    let layer = graph.nodes[first].operation();
    let (end, activation) = activated(graph, first).filter(|(_, f)| layer.takes(*f)).unzip();
    (Pass::Layer { activation }, end.unwrap_or(first))
}

fn is_norm(node: &Node) -> bool {
    matches!(node.kind, Kind::BatchNorm2d(_))
}

/// The activation that alone reads a layer, and what it is.
fn activated(graph: &Graph<'_>, layer: usize) -> Option<(usize, Activation)> {
    let next = graph.only_reader(layer)?;
    match graph.nodes[next].kind {
        Kind::Activation(activation) => Some((next, activation)),
        _ => None,
    }
}

/// The ReLU that alone reads a layer.
fn rectified(graph: &Graph<'_>, layer: usize) -> Option<usize> {
    let (relu, _) = activated(graph, layer).filter(|(_, f)| *f == Activation::Relu)?;
    Some(relu)
}

/// The pooling by two that alone reads the ReLU that alone reads a layer, if there are two rows and columns.
fn halved(graph: &Graph<'_>, layer: usize) -> Option<usize> {
    let pool = graph.only_reader(rectified(graph, layer)?)?;
    let halves =
        graph.nodes[pool].kind == Kind::MaxPool2d(MaxPool2d { window: halving(), ceil: false });
    let [_, height, width] = graph.nodes[layer].shape;
    (halves && height > 1 && width > 1).then_some(pool)
}
