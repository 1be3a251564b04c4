//! What a tape writes, kept from step to step: a value's place is that of the last step's.

use super::Var;
use super::profile::Watch;
use crate::ops::{Plan, Record, Scratch};
use crate::{Buffer, Tensor};
use std::fmt;

/// What a tape writes, kept from step to step. One per thread.
#[derive(Default)]
pub struct Workspace {
    pub(crate) nodes: Vec<Node>,
    pub(crate) records: Vec<Record>,
    /// What single operations keep for their backward; see the operation's file.
    pub(crate) plans: Slots<Plan>,
    pub(crate) scratch: Scratch,
    pub(crate) free: FreeList,
    /// Weights and bias of a convolution with those of a batch norm in them.
    pub(crate) folded: Buffer,
    /// That of tapes that do not record, which reuse room sooner.
    pub(super) evaluation: Option<Box<Workspace>>,
    pub(crate) buffers: Slots<Buffer>,
    /// The operands of operations that take any number.
    pub(crate) operands: Vec<Var>,
    /// Lent to a network: see [`Tape::take_table`](crate::Tape::take_table).
    pub(super) table: Vec<Var>,
    pub(crate) masks: Slots<Vec<u16>>,
    /// Where the images of the batch come from, for random choices that follow images.
    pub(crate) origin: Origin,
    /// Measures operations, in a profiled run.
    pub(crate) watch: Option<Watch>,
    /// The layer of the first value that is not finite, in a checked run.
    pub(super) fault: Option<usize>,
    pub(super) checked: bool,
    /// Whether values are given away in the backward pass.
    pub(super) frugal: bool,
    used: usize,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Workspace");
        debug.field("values", &self.used).field("records", &self.records.len());
        debug.finish_non_exhaustive()
    }
}

impl Workspace {
    /// Says which images the next run is of: those of `images`, in order, in this epoch of a run
    /// with this seed. Dropout masks are a function of these alone.
    pub fn set_origin(&mut self, seed: u64, epoch: u32, images: impl IntoIterator<Item = u32>) {
        self.origin.seed = seed;
        self.origin.epoch = epoch;
        self.origin.images.clear();
        self.origin.images.extend(images);
    }

    /// Whether to look at every value that the next runs compute, and remember the layer of the
    /// first that is not finite: see [`Workspace::fault`].
    pub fn set_checked(&mut self, checked: bool) {
        self.checked = checked;
        self.fault = None;
    }

    /// Whether [`Tape::backward`](crate::Tape::backward) gives the room of each value to gradients as soon as no
    /// backward needs it: for values that fill the memory. They cannot be read afterwards.
    pub fn set_frugal(&mut self, frugal: bool) {
        self.frugal = frugal;
    }

    /// Bytes of the values and gradients that it holds, and of what single operations keep of each image.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let floats = |tensor: &Tensor| size_of_val(tensor.data());
        let nodes = self.nodes.iter().map(|node| floats(&node.value) + floats(&node.gradient));
        let masks = self.masks.items.iter().map(|masks| size_of_val(&masks[..]));
        let plans = self.plans.items.iter().map(Plan::image_bytes);
        let own: usize =
            nodes.chain(self.free.0.iter().map(floats)).chain(masks).chain(plans).sum();
        own + self.evaluation.as_ref().map_or(0, |evaluation| evaluation.bytes())
    }

    /// The layer, as set by [`Tape::set_layer`](crate::Tape::set_layer), whose output was the first not to be finite.
    pub fn fault(&self) -> Option<usize> {
        self.fault
    }
}

impl Workspace {
    /// Goes back to the first place of everything.
    pub(super) fn rewind(&mut self) {
        self.records.clear();
        self.operands.clear();
        self.plans.taken = 0;
        self.buffers.taken = 0;
        self.masks.taken = 0;
        self.used = 0;
    }

    /// The index of the next value's node.
    pub(super) fn next_node(&mut self) -> usize {
        if self.used == self.nodes.len() {
            self.nodes.push(Node::default());
        }
        self.used += 1;
        self.used - 1
    }

    /// Takes over what tapes of another kind have used up.
    pub(super) fn take_free(&mut self, from: &mut FreeList) {
        self.free.0.append(&mut from.0);
    }

    /// What an operation computed.
    pub(crate) fn value(&self, var: Var) -> &Tensor {
        &self.nodes[var.0].value
    }
}

/// A value and its gradient.
#[derive(Default)]
pub(crate) struct Node {
    /// Empty where it has been given away: see [`Tape::done`](crate::Tape::done).
    pub(crate) value: Tensor,
    /// Images, channels, rows and columns of the value.
    pub(super) shape: (usize, usize, [usize; 2]),
    pub(super) gradient: Tensor,
    /// Whether `gradient` holds this step's.
    pub(super) has_gradient: bool,
    /// Whether a gradient is wanted.
    pub(super) needs_gradient: bool,
}

/// Tensors that have been used up: gradients, and values of tapes that do not record. The next of
/// their length is written over the last of them, which is still in the caches.
#[derive(Default)]
pub(crate) struct FreeList(Vec<Tensor>);

impl FreeList {
    /// A tensor of so many floats, with anything in them, or an empty one.
    pub(super) fn take(&mut self, len: usize) -> Tensor {
        let found = self.0.iter().rposition(|tensor| tensor.data().len() == len);
        found.map_or_else(Tensor::default, |i| self.0.remove(i))
    }

    pub(super) fn put(&mut self, tensor: Tensor) {
        if !tensor.data().is_empty() {
            self.0.push(tensor);
        }
    }
}

/// Things taken in the same order at every step.
pub(crate) struct Slots<T> {
    items: Vec<T>,
    taken: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { items: vec![], taken: 0 }
    }
}

impl<T: Default> Slots<T> {
    /// The index of the next item.
    pub(crate) fn next(&mut self) -> usize {
        if self.taken == self.items.len() {
            self.items.push(T::default());
        }
        self.taken += 1;
        self.taken - 1
    }

    /// Takes an item out, to be put back.
    pub(crate) fn take(&mut self, index: usize) -> T {
        std::mem::take(&mut self.items[index])
    }

    pub(crate) fn put(&mut self, index: usize, item: T) {
        self.items[index] = item;
    }
}

/// Which images of which epoch a batch holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub seed: u64,
    pub epoch: u32,
    pub images: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Param, Tape};
    use kernels::{Isa, Window};

    /// A frugal tape has the gradients of any other, step after step, with an evaluation between them.
    #[test]
    fn giving_values_away_changes_no_bit() {
        let weights: Vec<f32> = (0..27 + 81).map(|i| (i as f32 * 0.7).sin()).collect();
        let [first, second] = [(0, 27), (27, 81)].map(|(offset, len)| Param { offset, len });
        let gradients = |workspace: &mut Workspace, training: bool| {
            let mut found = vec![0.0; weights.len()];
            let mut tape = match training {
                true => Tape::training(Isa::detect(), workspace, &weights, 1),
                false => Tape::evaluation(Isa::detect(), workspace, &weights),
            };
            let x = tape.input(1, 1, [6, 7], |x| x.data_mut().fill(0.5));
            let window = Window::new([3, 3]).padding(1);
            let a = tape.conv2d(x, first, None, window, true);
            let b = tape.conv2d(a, second, None, window, false);
            let y = tape.add_relu(a, b);
            let y = tape.max_pool2d(y, Window::new([2, 2]).stride(2));
            let loss = tape.mean(y);
            if training {
                tape.backward(loss, &mut found);
            }
            found
        };
        let expected = gradients(&mut Workspace::default(), true);
        assert!(expected.iter().any(|g| *g != 0.0));
        let mut workspace = Workspace::default();
        workspace.set_frugal(true);
        for step in 0..4 {
            assert_eq!(gradients(&mut workspace, true), expected, "step {step}");
            gradients(&mut workspace, step % 2 == 0);
        }
    }
}
