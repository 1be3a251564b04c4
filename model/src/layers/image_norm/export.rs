//! Nodes of operator set 17, which has no group norm: an instance norm of groups that look like channels.

use super::{GroupNorm, InstanceNorm, LayerNorm, Norm};
use crate::onnx_nodes::{Array, Graph, Site, float, int, ints};

pub(super) fn group_norm(
    norm: &GroupNorm,
    graph: &mut Graph<'_>,
    site: &Site<'_>,
    x: Vec<Array>,
) -> Array {
    groups(norm, norm.groups, graph, site, x)
}

pub(super) fn instance_norm(
    norm: &InstanceNorm,
    graph: &mut Graph<'_>,
    site: &Site<'_>,
    x: Vec<Array>,
) -> Array {
    groups(norm, site.inputs[0][0], graph, site, x)
}

fn groups(
    norm: &impl Norm,
    groups: usize,
    graph: &mut Graph<'_>,
    site: &Site<'_>,
    x: Vec<Array>,
) -> Array {
    let (name, [channels, rows, columns]) = (site.name, site.inputs[0]);
    let [x] = graph.planes(site, x);
    let shapes = [[0, groups as i64, -1], [0, channels as i64, -1]];
    let cut = graph.integers(&format!("{name}/groups"), &shapes[0]);
    let cut = graph.node(&format!("{name}/cut"), "Reshape", &[x.name, cut], vec![], false);
    let [ones, zeros] =
        [1.0, 0.0].map(|v| graph.floats(&format!("{name}/{v}"), &[groups], &vec![v; groups]));
    let (eps, affine) = norm.settings();
    let inputs = [cut.name, ones, zeros];
    let normal = graph.node(
        &format!("{name}/norm"),
        "InstanceNormalization",
        &inputs,
        vec![float("epsilon", eps)],
        false,
    );
    let back = graph
        .integers(&format!("{name}/shape"), &[0, channels as i64, rows as i64, columns as i64]);
    let last = if affine { format!("{name}/join") } else { name.to_owned() };
    let y = graph.node(&last, "Reshape", &[normal.name, back], vec![], false);
    if affine { scaled(graph, site, y) } else { y }
}

/// Times the scale, plus the shift of each channel.
fn scaled(graph: &mut Graph<'_>, site: &Site<'_>, x: Array) -> Array {
    let shape = [site.inputs[0][0], 1, 1];
    let [scale, shift] = ["weight", "bias"].map(|part| graph.parameter_as(site, part, &shape));
    let y = graph.node(&format!("{}/scaled", site.name), "Mul", &[x.name, scale], vec![], false);
    graph.node(site.name, "Add", &[y.name, shift], vec![], false)
}

pub(super) fn layer_norm(
    norm: &LayerNorm,
    graph: &mut Graph<'_>,
    site: &Site<'_>,
    x: Vec<Array>,
) -> Array {
    let name = site.name;
    let [channels, rows, columns] = site.inputs[0];
    let mut attributes = vec![float("epsilon", norm.eps)];
    let (mut x, mut shape) = (x, vec![channels, rows, columns]);
    if norm.pixels {
        x = Vec::from(graph.planes::<1>(site, x));
        attributes.push(int("axis", 1));
    } else {
        // Vectors have their channels last; those of planes are brought there.
        shape = vec![channels];
        attributes.push(int("axis", -1));
        if !x[0].is_vector {
            let last = vec![ints("perm", &[0, 2, 3, 1])];
            x = vec![graph.node(
                &format!("{name}/last"),
                "Transpose",
                &[x[0].name.clone()],
                last,
                false,
            )];
        }
    }
    let count = shape.iter().product();
    let [scale, shift] = [("weight", 1.0), ("bias", 0.0)].map(|(part, usual)| match norm.affine {
        true => graph.parameter_input(site, part),
        false => graph.floats(&format!("{name}/{part}"), &shape, &vec![usual; count]),
    });
    let inputs = [x[0].name.clone(), scale, shift];
    let turned = !norm.pixels && !x[0].is_vector;
    let own = if turned { format!("{name}/norm") } else { name.to_owned() };
    let y = graph.node(&own, "LayerNormalization", &inputs, attributes, x[0].is_vector);
    if !turned {
        return y;
    }
    graph.node(name, "Transpose", &[y.name], vec![ints("perm", &[0, 3, 1, 2])], false)
}
