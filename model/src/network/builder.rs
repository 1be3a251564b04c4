//! From layers to a network: inputs found, shapes checked, parameters named and placed.

use super::cost::Cost;
use super::plan::{Graph, Plan};
use super::scope::{Found, List, Scope};
use super::witness::Witness;
use super::{Network, Node, Parameter, ShapeError, Summary};
use crate::layers::definition::{Operation, Part, Shape, addressable};
use crate::layers::{Add, Again, Kind, Layer, Residual, unreadable};
use autograd::Param;
use files::Limits;
use kernels::{Activation, LANES, Precision};
use std::collections::HashMap;

/// The network of these layers on images of this shape, if it costs no more than the limits allow.
pub(crate) fn build(
    input: Shape,
    layers: &[Layer],
    limits: &Limits,
) -> Result<Network, ShapeError> {
    let mut builder = Builder::new(input, limits);
    let end = builder.sequence(layers, "", 0, 0)?;
    let output = builder.shape(end);
    if output[1..] != [1, 1] {
        let problem = "the network must end in vectors: add flatten and linear layers";
        return Err(end_error(output, problem.to_owned()));
    }
    let trained = builder.place(true, 0);
    let len = builder.place(false, trained);
    let Builder { parameters, summaries, mut nodes, .. } = builder;
    // Only now are the places known.
    for param in nodes.iter_mut().flat_map(|node| &mut node.params) {
        *param = parameters[param.offset].place;
    }
    count_later_uses(&mut nodes);
    let graph = Graph::new(input, &nodes);
    if let Some(layer) = graph.unread() {
        let summary = &summaries[nodes[layer].number];
        return Err(summary.wrong("no layer takes in what it gives, and it is not the last"));
    }
    let plans = [false, true].map(|is_training| Plan::new(&graph, is_training));
    let (layers, witness) = (layers.to_vec(), Witness::default());
    Ok(Network {
        layers,
        nodes,
        input,
        output,
        parameters,
        trained,
        len,
        summaries,
        plans,
        precision: Precision::F32,
        witness,
    })
}

/// Tells each batch norm how often it is used again after its place.
fn count_later_uses(nodes: &mut [Node]) {
    let mut uses = HashMap::new();
    for Node { kind, owner, .. } in nodes.iter_mut().rev() {
        if let Kind::BatchNorm2d(norm) = kind {
            let later = uses.entry(*owner).or_insert(0);
            norm.later = *later;
            *later += 1;
        }
    }
}

/// What is wrong with the end of a network, of this shape.
pub(super) fn end_error(output: Shape, problem: String) -> ShapeError {
    let (name, kind) = ("(end)".to_owned(), "output".to_owned());
    ShapeError { name, kind, problem, inputs: vec![(None, output)] }
}

/// What has been built so far.
struct Builder<'a> {
    limits: &'a Limits,
    input: Shape,
    nodes: Vec<Node>,
    parameters: Vec<Parameter>,
    summaries: Vec<Summary>,
    scope: Scope,
    cost: Cost,
}

/// Blocks within blocks at most: a deeper list of layers is a mistake, and the stack is not endless.
const DEPTH: usize = 16;

impl<'a> Builder<'a> {
    fn new(input: Shape, limits: &'a Limits) -> Builder<'a> {
        let (nodes, parameters, summaries) = (vec![], vec![], vec![]);
        let (scope, cost) = (Scope::default(), Cost::default());
        Builder { limits, input, nodes, parameters, summaries, scope, cost }
    }

    /// The shape of a value: see [`Graph`].
    fn shape(&self, value: usize) -> Shape {
        value.checked_sub(1).map_or(self.input, |layer| self.nodes[layer].shape)
    }

    /// Builds the layers of a list, which takes in `input`; returns the value of the last.
    fn sequence(
        &mut self,
        layers: &[Layer],
        prefix: &str,
        input: usize,
        depth: usize,
    ) -> Result<usize, ShapeError> {
        let mut before = input;
        for (i, layer) in layers.iter().enumerate() {
            let own = layer.name.clone().unwrap_or_else(|| i.to_string());
            let name = format!("{prefix}{own}");
            let number = self.summaries.len();
            self.summaries.push(Summary::new(&name, layer));
            let wrong = |problem: &str| self.summaries[number].wrong(problem);
            self.scope.check(&name).map_err(wrong)?;
            if depth > DEPTH {
                return Err(wrong("blocks within blocks, too many of them"));
            }
            let list = List { prefix, input, layers, at: i };
            let value = |from: &String| self.scope.value(from, &list);
            let values: Result<Vec<usize>, String> = match &layer.from[..] {
                [] => Ok(vec![before]),
                from => from.iter().map(value).collect(),
            };
            let values = values.map_err(|problem| wrong(&problem))?;
            before = self.layer(layer, number, &values, &list, depth)?;
            let is_block = matches!(layer.kind, Kind::Residual(_));
            self.scope.add(name, Found { value: before, is_block });
        }
        Ok(before)
    }

    /// Builds a layer that takes in these values; returns its own.
    fn layer(
        &mut self,
        layer: &Layer,
        number: usize,
        values: &[usize],
        list: &List<'_>,
        depth: usize,
    ) -> Result<usize, ShapeError> {
        let inputs: Vec<Shape> = values.iter().map(|value| self.shape(*value)).collect();
        self.summaries[number].inputs = inputs.clone();
        if let Some(problem) = inputs.iter().find_map(too_large) {
            return Err(self.summaries[number].wrong(problem));
        }
        let value = match &layer.kind {
            Kind::Residual(block) => self.residual(block, number, values, depth)?,
            Kind::Again(Again { layer }) => {
                let owner = self.owner(layer, list);
                let owner = owner.map_err(|problem| self.summaries[number].wrong(&problem))?;
                let Node { name, kind, .. } = self.nodes[owner].clone();
                let words = kind.written().in_words();
                self.summaries[number].kind = format!("{words}, that of {name}");
                self.node(kind, number, values, Some(owner))?
            }
            kind => self.node(kind.clone(), number, values, None)?,
        };
        self.summaries[number].output = self.shape(value);
        Ok(value)
    }

    /// Builds a layer that computes a value itself, with the parameters of another where it uses that again.
    fn node(
        &mut self,
        kind: Kind,
        number: usize,
        values: &[usize],
        owner: Option<usize>,
    ) -> Result<usize, ShapeError> {
        let first = self.parameters.len();
        let operation = kind.operation().expect("blocks and layers used again are no nodes");
        let inputs = &self.summaries[number].inputs;
        let wrong = |problem: String| self.summaries[number].wrong(&problem);
        check_count(operation, inputs.len()).map_err(wrong)?;
        let shape = operation.output(inputs).map_err(wrong)?;
        if let Some(problem) = unreadable(&kind) {
            return Err(wrong(problem));
        }
        let work = operation.work(inputs, shape);
        let parts = operation.parameters(inputs);
        let params: Vec<Param> = match owner {
            Some(owner) => {
                let shapes = |param: &Param| &self.parameters[param.offset].shape;
                let theirs = self.nodes[owner].params.iter().map(shapes);
                if !theirs.eq(parts.iter().map(|part| &part.shape)) {
                    let name = &self.nodes[owner].name;
                    let problem = format!("the weights of layer {name} are for other inputs");
                    return Err(wrong(problem));
                }
                self.nodes[owner].params.clone()
            }
            None => {
                let name = self.summaries[number].name.clone();
                let add = |part| self.parameter(&name, part);
                parts.into_iter().map(add).collect()
            }
        };
        self.cost.add_layer(work, shape);
        let within = self.cost.within(self.limits);
        within.map_err(|problem| self.summaries[number].wrong(&problem))?;
        let own = self.parameters[first..].iter().filter(|p| p.role.is_trained());
        self.summaries[number].parameters = own.map(|p| p.place.len).sum();
        self.summaries[number].multiply_adds = work.multiply_adds;
        let (name, inputs) = (self.summaries[number].name.clone(), values.to_vec());
        let owner = owner.unwrap_or(self.nodes.len());
        self.nodes.push(Node { name, number, owner, kind, params, inputs, shape });
        Ok(self.nodes.len())
    }

    /// Builds the body of a block, the shortcut, their sum and its ReLU.
    fn residual(
        &mut self,
        block: &Residual,
        number: usize,
        values: &[usize],
        depth: usize,
    ) -> Result<usize, ShapeError> {
        let name = self.summaries[number].name.clone();
        let &[x] = values else {
            return Err(self.summaries[number].wrong("a block takes one input"));
        };
        let mut branch = |layers: &[Layer], part| {
            self.sequence(layers, &format!("{name}.{part}."), x, depth + 1)
        };
        let (body, shortcut) = (branch(&block.body, "body")?, branch(&block.shortcut, "shortcut")?);
        let shapes = [body, shortcut].map(|value| self.shape(value));
        let [after, beside] = shapes.map(|shape| shape.map(|n| n.to_string()).join("×"));
        if after != beside {
            let problem = format!("body gives {after} and shortcut {beside}");
            return Err(self.summaries[number].wrong(&problem));
        }
        let [shape, _] = shapes;
        self.cost.add_layer(Add.work(&shapes, shape), shape);
        let within = self.cost.within(self.limits);
        within.map_err(|problem| self.summaries[number].wrong(&problem))?;
        let relu = Kind::Activation(Activation::Relu);
        for (name, kind) in [(format!("{name}/sum"), Kind::Add(Add)), (name, relu)] {
            let owner = self.nodes.len();
            let inputs = if kind == Kind::Add(Add) { vec![body, shortcut] } else { vec![owner] };
            self.nodes.push(Node { name, number, owner, kind, params: vec![], inputs, shape });
        }
        Ok(self.nodes.len())
    }

    /// The layer that has the parameters of the one of this name, which is to be used again.
    fn owner(&self, name: &str, list: &List<'_>) -> Result<usize, String> {
        let found = self.scope.layer(name, list)?;
        if found.is_block {
            return Err(format!("layer {name} is a block, and only a layer can be used again"));
        }
        Ok(self.nodes[found.value - 1].owner)
    }

    /// Adds a parameter; until all are known its place is its index.
    fn parameter(&mut self, layer: &str, part: Part) -> Param {
        let Part { name, shape, role } = part;
        let place = Param { offset: self.parameters.len(), len: shape.iter().product() };
        let name = format!("{layer}.{name}");
        self.cost.add_parameter(place.len);
        self.parameters.push(Parameter { name, shape, place, role });
        place
    }

    /// Gives the parameters that are (or are not) trained their places from `offset` on; returns the
    /// end.
    fn place(&mut self, trained: bool, mut offset: usize) -> usize {
        for parameter in self.parameters.iter_mut().filter(|p| p.role.is_trained() == trained) {
            parameter.place.offset = offset;
            offset += parameter.place.len.next_multiple_of(LANES);
        }
        offset
    }
}

/// What is wrong with an input whatever the layer, if anything is.
fn too_large(input: &Shape) -> Option<&'static str> {
    let [channels, height, width] = *input;
    if input.contains(&0) {
        return Some("there is nothing to compute with");
    }
    let fits = addressable(&[LANES, channels, height, width.saturating_add(1)]);
    (!fits).then_some("its input is too large")
}

/// Whether a layer takes so many inputs.
fn check_count(operation: &dyn Operation, inputs: usize) -> Result<(), String> {
    let range = operation.inputs();
    if range.contains(&inputs) {
        return Ok(());
    }
    let expected = match (*range.start(), *range.end()) {
        (1, 1) => "one input".to_owned(),
        (least, usize::MAX) => format!("{least} inputs or more, which `from` names"),
        (least, most) if least == most => format!("{least} inputs, which `from` names"),
        (least, most) => format!("{least} to {most} inputs, which `from` names"),
    };
    Err(format!("it takes {expected}"))
}
