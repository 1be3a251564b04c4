//! What a tape writes, kept from step to step: a value's place is that of the last step's.

use super::Var;
use crate::ops::{Plan, Record, Scratch};
use crate::profile::Watch;
use crate::{Buffer, Tensor};

/// What a tape writes, kept from step to step. One per thread.
#[derive(Default)]
pub struct Memory {
    pub(crate) nodes: Vec<Node>,
    pub(crate) records: Vec<Record>,
    /// What single operations keep for their backward; see the operation's file.
    pub(crate) plans: Shelf<Plan>,
    pub(crate) scratch: Scratch,
    pub(crate) spare: Spare,
    /// Weights and bias of a convolution with those of a batch norm in them.
    pub(crate) folded: Buffer,
    /// That of tapes that do not record, which reuse room sooner.
    pub(super) evaluation: Option<Box<Memory>>,
    pub(crate) buffers: Shelf<Buffer>,
    pub(crate) masks: Shelf<Vec<u16>>,
    /// Where the images of the batch come from, for random choices that follow images.
    pub(crate) origin: Origin,
    /// Measures operations, in a profiled run.
    pub(crate) watch: Option<Watch>,
    /// The layer of the first value that is not finite, in a checked run.
    pub(super) fault: Option<usize>,
    pub(super) checked: bool,
    used: usize,
    labels: Vec<u32>,
    pixels: Vec<u8>,
}

impl Memory {
    /// Says which images the next run is of: those of `images`, in order, in this epoch of a run
    /// with this seed. Dropout masks are a function of these alone.
    pub fn set_origin(&mut self, seed: u64, epoch: u32, images: impl IntoIterator<Item = u32>) {
        self.origin.seed = seed;
        self.origin.epoch = epoch;
        self.origin.images.clear();
        self.origin.images.extend(images);
    }

    /// Room for the labels of a batch, kept from step to step; to be given back.
    pub fn take_labels(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.labels)
    }

    /// Gives back what [`Memory::take_labels`] lent.
    pub fn put_labels(&mut self, labels: Vec<u32>) {
        self.labels = labels;
    }

    /// Room for images that are changed before they are put on a tape, kept from step to step; to be
    /// given back.
    pub fn take_pixels(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pixels)
    }

    /// Gives back what [`Memory::take_pixels`] lent.
    pub fn put_pixels(&mut self, pixels: Vec<u8>) {
        self.pixels = pixels;
    }

    /// Whether to look at every value that the next runs compute, and remember the layer of the
    /// first that is not finite: see [`Memory::fault`].
    pub fn set_checked(&mut self, checked: bool) {
        self.checked = checked;
        self.fault = None;
    }

    /// The layer, as set by [`Tape::set_layer`](crate::Tape::set_layer), whose output was the first not to be finite.
    pub fn fault(&self) -> Option<usize> {
        self.fault
    }
}

impl Memory {
    /// Goes back to the first place of everything.
    pub(super) fn rewind(&mut self) {
        self.records.clear();
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

    /// What an operation computed.
    pub(crate) fn value(&self, var: Var) -> &Tensor {
        &self.nodes[var.0].value
    }
}

/// A value and its gradient.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) value: Tensor,
    pub(super) gradient: Tensor,
    /// Whether `gradient` holds this step's.
    pub(super) has_gradient: bool,
    /// Whether a gradient is wanted.
    pub(super) needs_gradient: bool,
}

/// Tensors that have been used up: gradients, and values of tapes that do not record. The next of
/// their length is written over the last of them, which is still in the caches.
#[derive(Default)]
pub(crate) struct Spare(Vec<Tensor>);

impl Spare {
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
pub(crate) struct Shelf<T> {
    items: Vec<T>,
    taken: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Shelf { items: vec![], taken: 0 }
    }
}

impl<T: Default> Shelf<T> {
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
