//! From a network to the nodes of an ONNX graph.

use crate::layers::Kind;
use crate::network::Graph as Layers;
use crate::onnx_nodes::messages::*;
use crate::onnx_nodes::{Array, Graph, Site};
use crate::parameter::Parameter;
use crate::{Model, Network};

/// The nodes from `image` to `logits`, and the constants that they use. Values that are not
/// parameters have names with a slash, which no layer's has.
pub(super) fn graph(model: &Model, fold_batch_norm: bool) -> (Vec<NodeProto>, Vec<TensorProto>) {
    let network = &model.network;
    let mut graph = Graph::new(&model.weights);
    let mut x = Array { name: "image".into(), is_vector: false };
    for (operation, values) in [("Sub", &model.mean), ("Div", &model.std)] {
        let name = format!("normalize/{}", operation.to_lowercase());
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        let constant = graph.floats(&format!("{name}/by"), &[1, values.len(), 1, 1], &values);
        x = graph.node(&name, operation, &[x.name, constant], vec![], false);
    }
    let x = layers(network, &mut graph, x, fold_batch_norm);
    let Array { name, .. } = graph.vector("end/flatten", x);
    // The last layer's own node is often the last of the graph, but not where it gives on what it takes in.
    let last = graph.nodes.iter_mut().rfind(|node| node.output[0] == name);
    last.expect("two nodes normalise").output[0] = "logits".into();
    (graph.nodes, graph.constants)
}

/// The nodes of all layers; returns the output of the last.
fn layers(network: &Network, graph: &mut Graph<'_>, x: Array, fold_batch_norm: bool) -> Array {
    let layers = Layers::new(network.input, &network.nodes);
    let mut arrays = vec![x];
    let mut is_folded = vec![false; network.nodes.len()];
    for (i, node) in network.nodes.iter().enumerate() {
        let x: Vec<Array> = node.inputs.iter().map(|value| arrays[*value].clone()).collect();
        if is_folded[i] {
            arrays.extend(x);
            continue;
        }
        let is_norm = |next: &usize| matches!(network.nodes[*next].kind, Kind::BatchNorm2d(_));
        let norm = layers.only_reader(i).filter(is_norm);
        let norm = norm.filter(|_| fold_batch_norm && node.kind.is_affine());
        let norm = norm.map(|norm| {
            is_folded[norm] = true;
            (parameters(network, norm), network.norm(norm).epsilon)
        });
        let site = Site {
            name: &node.name,
            inputs: &layers.shapes(node),
            parameters: &parameters(network, i),
            folded: norm.as_ref().map(|(norm, epsilon)| (&norm[..], *epsilon)),
        };
        arrays.push(node.operation().onnx(graph, &site, x));
    }
    arrays.pop().expect("the images, if nothing else")
}

/// The parameters of a node.
fn parameters(network: &Network, node: usize) -> Vec<&Parameter> {
    let params = &network.nodes[node].params;
    let of = |place| network.parameters.iter().find(|p| p.place == place);
    params.iter().map(|place| of(*place).expect("a parameter of the network")).collect()
}
