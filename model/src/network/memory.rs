//! What the values of a network take on a tape: the tape's own bookkeeping (`autograd/src/tape/`), of lengths alone.

use super::{Network, Pass, Planned};
use crate::layers::Kind;
use crate::layers::definition::Shape;
use kernels::{Convolution, LANES, Layout, Precision, Winograd};
use std::collections::HashMap;

/// Whether images of this shape (channels, rows, columns) are large: a few of them fill the memory. They are trained on
/// frugal tapes ([`autograd::Workspace::set_frugal`]).
#[must_use]
pub fn is_large([_, height, width]: [usize; 3]) -> bool {
    height * width > 128 * 128
}

impl Network {
    /// Bytes that the values of an image take in evaluation, on a tape of sixteen images.
    #[must_use]
    pub fn inference_bytes(&self) -> u64 {
        let mut rooms = Rooms::default();
        rooms.take(floats(self.input));
        for planned in &self.plan(false).passes {
            if let Some(full) = self.full(planned) {
                rooms.take(full);
                rooms.take(self.floats(planned.output));
                rooms.put(full);
            } else if planned.pass != Pass::Same {
                rooms.take(self.floats(planned.output));
                rooms.keep(self.masks(planned));
            }
            planned.done.iter().for_each(|done| rooms.put(self.floats(done.value)));
        }
        rooms.bytes / LANES as u64
    }

    /// Bytes that the values of an image take in a step of training, and the gradients of values, on a tape of
    /// sixteen images: of large images ([`is_large`]) on a frugal one.
    #[must_use]
    pub fn training_bytes(&self) -> u64 {
        let frugal = is_large(self.input);
        let plan = self.plan(true);
        let mut step = Step::new(self);
        step.rooms.take(floats(self.input));
        for planned in &plan.passes {
            step.forward(planned);
        }
        step.rooms.take(self.floats(plan.output));
        step.has_gradient[step.origin[plan.output]] = step.needs_gradient[plan.output];
        for planned in plan.passes.iter().rev() {
            step.backward(planned, frugal);
        }
        step.rooms.bytes / LANES as u64
    }

    /// The floats of a value for sixteen images.
    fn floats(&self, value: usize) -> usize {
        floats(value.checked_sub(1).map_or(self.input, |layer| self.nodes[layer].shape))
    }

    /// The convolution of a pass that also pools.
    fn pooled(&self, planned: &Planned) -> Option<Convolution> {
        let node = &self.nodes[planned.first];
        let value = node.inputs[0];
        let input = value.checked_sub(1).map_or(self.input, |layer| self.nodes[layer].shape);
        let is_pooled = planned.pass == Pass::PooledConvolution;
        node.conv2d().filter(|_| is_pooled).and_then(|conv| conv.kernel(input))
    }

    /// Bytes of what a pass that convolves and pools keeps: which of four was taken, for sixteen images.
    fn masks(&self, planned: &Planned) -> u64 {
        if self.pooled(planned).is_none() || self.full(planned).is_some() {
            return 0;
        }
        let [channels, height, width] = self.nodes[planned.output - 1].shape;
        (channels * height * width * size_of::<[u16; 4]>()) as u64
    }

    /// The floats of a convolution that is pooled in a pass of its own: see
    /// [`autograd::Tape::conv2d_relu_max_pool2d`].
    fn full(&self, planned: &Planned) -> Option<usize> {
        let in_bf16 = self.precision == Precision::Bf16;
        let separate = |conv: &Convolution| {
            let in_parts = in_bf16 && conv.suits_bf16() || Winograd::applies(conv);
            conv.options().is_padded() || conv.groups() > 1 || in_parts
        };
        self.pooled(planned).filter(separate).map(|_| self.floats(planned.first + 1))
    }
}

/// The floats of a value of this shape for sixteen images.
fn floats([channels, height, width]: Shape) -> usize {
    Layout::new(1, channels, [height, width]).len()
}

/// Rooms of used-up tensors, by length.
#[derive(Default)]
struct Rooms {
    free: HashMap<usize, usize>,
    bytes: u64,
}

impl Rooms {
    fn take(&mut self, floats: usize) {
        match self.free.get_mut(&floats).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => self.keep((floats * size_of::<f32>()) as u64),
        }
    }

    fn put(&mut self, floats: usize) {
        *self.free.entry(floats).or_default() += 1;
    }

    /// What is nobody else's.
    fn keep(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

/// A step of training.
struct Step<'n> {
    network: &'n Network,
    rooms: Rooms,
    /// Of each value: the one that it is given on from, and whether its gradient is wanted, is there, and it was
    /// given away already.
    origin: Vec<usize>,
    needs_gradient: Vec<bool>,
    has_gradient: Vec<bool>,
    is_spent: Vec<bool>,
    reads_output: Vec<bool>,
}

impl<'n> Step<'n> {
    fn new(network: &'n Network) -> Step<'n> {
        let count = network.nodes.len() + 1;
        let (rooms, origin) = (Rooms::default(), (0..count).collect());
        let [needs_gradient, has_gradient, is_spent, reads_output] =
            [(); 4].map(|()| vec![false; count]);
        Step { network, rooms, origin, needs_gradient, has_gradient, is_spent, reads_output }
    }

    fn forward(&mut self, planned: &Planned) {
        let (network, output) = (self.network, planned.output);
        let node = &network.nodes[planned.first];
        let wanted = planned.inputs.iter().any(|value| self.needs_gradient[*value]);
        self.needs_gradient[output] = wanted || !node.params.is_empty();
        if planned.pass == Pass::Same {
            self.origin[output] = self.origin[planned.inputs[0]];
        } else {
            if let Some(full) = network.full(planned) {
                self.rooms.take(full);
            }
            self.rooms.take(network.floats(output));
            self.rooms.keep(self.kept(planned));
            self.reads_output[output] = match planned.pass {
                Pass::Layer { activation } => node.operation().reads_output(activation.is_some()),
                Pass::PooledConvolution => network.full(planned).is_some(),
                _ => true,
            };
        }
        for done in planned.done.iter().filter(|done| done.unread) {
            // A value without a gradient has no record, and is not known to be unread.
            if self.needs_gradient[done.value] && !self.reads_output[done.value] {
                self.rooms.put(network.floats(done.value));
                self.is_spent[done.value] = true;
            }
        }
    }

    /// Bytes that an operation keeps besides values.
    fn kept(&self, planned: &Planned) -> u64 {
        let node = &self.network.nodes[planned.first];
        let shape = |value: &usize| match value.checked_sub(1) {
            Some(layer) => self.network.nodes[layer].shape,
            None => self.network.input,
        };
        let own = node.operation().kept_bytes(&node.inputs.iter().map(shape).collect::<Vec<_>>());
        match self.network.masks(planned) {
            0 => own,
            // And room for the gradient before the pool.
            masks => {
                own + masks + (self.network.floats(planned.first + 1) * size_of::<f32>()) as u64
            }
        }
    }

    fn backward(&mut self, planned: &Planned, frugal: bool) {
        let (network, output) = (self.network, planned.output);
        if planned.pass == Pass::Same || !std::mem::take(&mut self.has_gradient[output]) {
            return;
        }
        let give_away = |step: &mut Self, floats| {
            if frugal {
                step.rooms.put(floats)
            }
        };
        let mut dy = Some(network.floats(output));
        if let Some(full) = network.full(planned) {
            self.rooms.take(full);
            self.rooms.put(network.floats(output));
            give_away(self, network.floats(output));
            dy = Some(full);
        }
        let node = &network.nodes[planned.first];
        let is_sum = matches!(node.kind, Kind::Add(_));
        for (i, input) in planned.inputs.iter().enumerate() {
            let value = self.origin[*input];
            let is_norm = matches!(node.kind, Kind::BatchNorm2d(_));
            if !self.needs_gradient[value] && !is_norm || self.has_gradient[value] {
                continue;
            }
            // The last of a sum is given the gradient itself.
            if is_sum && i + 1 == planned.inputs.len() {
                dy = None;
            } else {
                self.rooms.take(network.floats(value));
            }
            if self.needs_gradient[value] {
                self.has_gradient[value] = true;
            } else {
                self.rooms.put(network.floats(value));
            }
        }
        if let Some(dy) = dy {
            self.rooms.put(dy);
        }
        if network.full(planned).is_some() {
            give_away(self, network.floats(planned.first + 1));
        } else if !self.is_spent[output] {
            give_away(self, network.floats(output));
        }
    }
}
