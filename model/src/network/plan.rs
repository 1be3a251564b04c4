//! The order of a network's passes, and when each value has been read for the last time.

use super::{Node, Pass};
use crate::layers::definition::Shape;

/// Layers with what each reads. Value 0 is what the network takes in, value i + 1 what layer i computes.
pub(crate) struct Graph<'a> {
    pub nodes: &'a [Node],
    input: Shape,
    /// The layers that read each value, a layer as often as it does.
    readers: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    pub fn new(input: Shape, nodes: &'a [Node]) -> Graph<'a> {
        let mut readers = vec![vec![]; nodes.len() + 1];
        for (layer, node) in nodes.iter().enumerate() {
            node.inputs.iter().for_each(|value| readers[*value].push(layer));
        }
        Graph { nodes, input, readers }
    }

    /// The shapes of a layer's inputs.
    pub fn shapes(&self, node: &Node) -> Vec<Shape> {
        node.inputs.iter().map(|value| self.shape(*value)).collect()
    }

    /// The shape of a value.
    pub fn shape(&self, value: usize) -> Shape {
        value.checked_sub(1).map_or(self.input, |layer| self.nodes[layer].shape)
    }

    /// The layer that alone reads what a layer computes, once.
    pub fn only_reader(&self, layer: usize) -> Option<usize> {
        match self.readers[layer + 1][..] {
            [reader] => Some(reader),
            _ => None,
        }
    }

    /// The first layer, but for the last, whose output nobody reads.
    pub fn unread(&self) -> Option<usize> {
        (0..self.nodes.len().saturating_sub(1)).find(|layer| self.readers[layer + 1].is_empty())
    }
}

/// The passes of a network in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub passes: Vec<Planned>,
    /// The value of the last.
    pub output: usize,
}

/// A pass in its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    pub pass: Pass,
    /// The layer that it begins with.
    pub first: usize,
    /// The values that it reads, and the one that it computes.
    pub inputs: Vec<usize>,
    pub output: usize,
    /// The values that no later pass reads.
    pub done: Vec<Done>,
}

/// A value that no later pass reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Done {
    pub value: usize,
    /// Whether the backward passes of its readers do not read it either.
    pub unread: bool,
}

impl Plan {
    pub fn new(graph: &Graph<'_>, is_training: bool) -> Plan {
        let mut passes: Vec<Planned> = vec![];
        let mut is_planned = vec![false; graph.nodes.len()];
        for first in 0..graph.nodes.len() {
            if is_planned[first] {
                continue;
            }
            let (pass, last) = Pass::new(graph, first, is_training);
            let mut layer = first;
            while layer != last {
                layer = graph.only_reader(layer).expect("a pass is a chain of layers");
                is_planned[layer] = true;
            }
            let inputs = pass.inputs(graph, first, last);
            passes.push(Planned { pass, first, inputs, output: last + 1, done: vec![] });
        }
        let output = passes.last().map_or(0, |last| last.output);
        let mut plan = Plan { passes, output };
        plan.find_last_readers(graph);
        plan
    }

    /// Finds after which pass each value is done with; never the images and the output.
    fn find_last_readers(&mut self, graph: &Graph<'_>) {
        // A value that a pass gives on as it is, is that of the pass before.
        let mut origin: Vec<usize> = (0..=graph.nodes.len()).collect();
        let mut last_reader = vec![None; graph.nodes.len() + 1];
        let mut unread = vec![true; graph.nodes.len() + 1];
        for (at, planned) in self.passes.iter().enumerate() {
            for input in &planned.inputs {
                let value = origin[*input];
                match planned.pass {
                    Pass::Same => origin[planned.output] = value,
                    _ => {
                        last_reader[value] = Some(at);
                        unread[value] &= !graph.nodes[planned.first].operation().reads_inputs();
                    }
                }
            }
        }
        for (value, at) in last_reader.into_iter().enumerate() {
            if let Some(at) = at.filter(|_| value != 0 && value != origin[self.output]) {
                self.passes[at].done.push(Done { value, unread: unread[value] });
            }
        }
    }
}
