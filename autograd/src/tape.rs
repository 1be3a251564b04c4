//! The tape: operations are run and recorded; `backward` runs the records in reverse.
//!
//! A training step repeats the shapes of the last one, so everything that a step writes is kept in
//! [`Memory`] and found again by its place in the order of operations: a steady-state step allocates
//! nothing.

use crate::ops::Record;
use crate::profile::{Part, Watch};
use crate::{Buffer, Tensor};
use kernels::{Isa, LANES, Layout, Store};

/// A value on the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var(pub(crate) usize);

/// A parameter: a view of the flat buffer that the tape was made with. Its gradient has the same
/// place in the buffer given to [`Tape::backward`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// The first float.
    pub offset: usize,
    /// How many floats.
    pub len: usize,
}

impl Param {
    /// Its part of a flat buffer.
    pub fn of<'a>(&self, buffer: &'a [f32]) -> &'a [f32] {
        &buffer[self.offset..self.offset + self.len]
    }

    /// Its part of a flat buffer.
    pub fn of_mut<'a>(&self, buffer: &'a mut [f32]) -> &'a mut [f32] {
        &mut buffer[self.offset..self.offset + self.len]
    }
}

/// Whether the tape records, and what batch its images are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Training { batch: usize },
    Evaluation,
}

/// One run of a network: forward, and backward where it was recorded.
pub struct Tape<'a> {
    pub(crate) isa: Isa,
    pub(crate) params: &'a [f32],
    pub(crate) memory: &'a mut Memory,
    mode: Mode,
    layer: usize,
}

/// What a tape writes, kept from step to step. One per thread.
#[derive(Default)]
pub struct Memory {
    pub(crate) nodes: Vec<Node>,
    pub(crate) records: Vec<Record>,
    /// What single operations keep for their backward; see the operation's file.
    pub(crate) plans: Shelf<crate::ops::Plan>,
    pub(crate) scratch: crate::ops::Scratch,
    pub(crate) spare: Spare,
    /// Weights and bias of a convolution with those of a batch norm in them.
    pub(crate) folded: Buffer,
    /// That of tapes that do not record, which reuse room sooner.
    evaluation: Option<Box<Memory>>,
    pub(crate) buffers: Shelf<Buffer>,
    pub(crate) masks: Shelf<Vec<u16>>,
    /// Where the images of the batch come from, for random choices that follow images.
    pub(crate) origin: Origin,
    /// Measures operations, in a profiled run.
    pub(crate) watch: Option<Watch>,
    /// The first value that is not finite, in a checked run.
    fault: Option<usize>,
    checked: bool,
    used: usize,
    labels: Vec<u32>,
    pixels: Vec<u8>,
}

/// A value and its gradient.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) value: Tensor,
    gradient: Tensor,
    /// Whether `gradient` holds this step's.
    has_gradient: bool,
    /// Whether a gradient is wanted.
    needs_gradient: bool,
}

/// Tensors that have been used up: gradients, and values of tapes that do not record. The next of
/// their length is written over the last of them, which is still in the caches.
#[derive(Default)]
pub(crate) struct Spare(Vec<Tensor>);

impl Spare {
    /// A tensor of so many floats, with anything in them, or an empty one.
    fn take(&mut self, len: usize) -> Tensor {
        let found = self.0.iter().rposition(|tensor| tensor.data().len() == len);
        found.map_or_else(Tensor::default, |i| self.0.remove(i))
    }

    fn put(&mut self, tensor: Tensor) {
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

    /// The layer, as set by [`Tape::set_layer`], whose output was the first not to be finite.
    pub fn fault(&self) -> Option<usize> {
        self.fault
    }
}

impl Memory {
    /// What an operation computed.
    pub(crate) fn value(&self, var: Var) -> &Tensor {
        &self.nodes[var.0].value
    }
}

impl<'a> Tape<'a> {
    /// A tape that records, for images of a batch of `batch`, of which it may see a part: losses are
    /// divided by `batch`, and batch statistics weighted by the part.
    pub fn training(isa: Isa, memory: &'a mut Memory, params: &'a [f32], batch: usize) -> Self {
        Tape::new(isa, memory, params, Mode::Training { batch })
    }

    /// A tape that does not record: batch norm uses its running statistics, dropout does nothing.
    pub fn evaluation(isa: Isa, memory: &'a mut Memory, params: &'a [f32]) -> Self {
        let memory: &mut Memory = memory.evaluation.get_or_insert_default();
        Tape::new(isa, memory, params, Mode::Evaluation)
    }

    fn new(isa: Isa, memory: &'a mut Memory, params: &'a [f32], mode: Mode) -> Self {
        memory.records.clear();
        memory.plans.taken = 0;
        memory.buffers.taken = 0;
        memory.masks.taken = 0;
        memory.used = 0;
        let mut tape = Tape { isa, params, memory, mode, layer: 0 };
        tape.start_watch();
        tape
    }

    /// The SIMD path.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether the tape records.
    pub fn is_training(&self) -> bool {
        self.mode != Mode::Evaluation
    }

    /// The number of the layer that the next operations belong to: it tells dropout masks of
    /// different layers apart and names the layer of a value that is not finite.
    pub fn set_layer(&mut self, layer: usize) {
        self.layer = layer;
    }

    pub(crate) fn layer(&self) -> usize {
        self.layer
    }

    /// Images of the whole batch.
    ///
    /// # Panics
    /// If the tape does not record.
    pub(crate) fn batch(&self) -> usize {
        match self.mode {
            Mode::Training { batch } => batch,
            Mode::Evaluation => panic!("this operation needs a tape that records"),
        }
    }

    /// A value from outside whose gradient is not wanted, to be filled by `fill`: zeros at first, and
    /// what the last step left there afterwards.
    pub fn input(
        &mut self,
        images: usize,
        channels: usize,
        size: [usize; 2],
        fill: impl FnOnce(&mut Tensor),
    ) -> Var {
        let (var, mut value) = self.output(images, channels, size);
        fill(&mut value);
        self.finish(var, value, false, "input")
    }

    /// A value from outside whose gradient is wanted: see [`Tape::gradient`].
    pub fn variable(&mut self, tensor: &Tensor) -> Var {
        let (var, mut value) = self.output(tensor.images(), tensor.channels(), tensor.size());
        value.data_mut().copy_from_slice(tensor.data());
        self.finish(var, value, true, "variable")
    }

    /// What an operation computed.
    pub fn value(&self, var: Var) -> &Tensor {
        self.memory.value(var)
    }

    /// The gradient of a [`Tape::variable`] after [`Tape::backward`]; `None` if nothing depends on it.
    pub fn gradient(&self, var: Var) -> Option<&Tensor> {
        let node = &self.memory.nodes[var.0];
        node.has_gradient.then_some(&node.gradient)
    }

    pub(crate) fn needs_gradient(&self, var: Var) -> bool {
        self.memory.nodes[var.0].needs_gradient
    }

    /// The next value's place, taken out to be written.
    pub(crate) fn output(
        &mut self,
        images: usize,
        channels: usize,
        size: [usize; 2],
    ) -> (Var, Tensor) {
        let index = self.memory.used;
        self.memory.used += 1;
        if index == self.memory.nodes.len() {
            self.memory.nodes.push(Node::default());
        }
        let mut value = std::mem::take(&mut self.memory.nodes[index].value);
        let len = Layout::new(images.div_ceil(LANES), channels, size).len();
        if self.mode == Mode::Evaluation && value.data().len() != len {
            self.memory.spare.put(value);
            value = self.memory.spare.take(len);
        }
        value.reshape(images, channels, size);
        (Var(index), value)
    }

    /// Says that nothing will read `x` again: a tape that does not record uses its room for the next
    /// value of its length.
    pub fn done(&mut self, x: Var) {
        if self.mode == Mode::Evaluation {
            let value = std::mem::take(&mut self.memory.nodes[x.0].value);
            self.memory.spare.put(value);
        }
    }

    /// Puts what an operation has written in its place.
    pub(crate) fn finish(
        &mut self,
        var: Var,
        value: Tensor,
        needs_gradient: bool,
        operation: &'static str,
    ) -> Var {
        if self.memory.checked && self.memory.fault.is_none() && !is_finite(&value) {
            self.memory.fault = Some(self.layer);
        }
        let node = &mut self.memory.nodes[var.0];
        node.value = value;
        node.has_gradient = false;
        node.needs_gradient = needs_gradient && self.mode != Mode::Evaluation;
        self.lap(var, operation);
        var
    }

    /// Puts a written value in its place, and its record on the tape if a gradient is wanted.
    pub(crate) fn record(
        &mut self,
        var: Var,
        value: Tensor,
        needs_gradient: bool,
        record: impl Into<Record>,
    ) -> Var {
        let record = record.into();
        let var = self.finish(var, value, needs_gradient, record.name());
        if self.needs_gradient(var) {
            self.memory.records.push(record);
        }
        var
    }

    /// Adds the gradient of `loss`, a single number, to `gradients`, which is laid out as the
    /// parameters are.
    ///
    /// # Panics
    /// If `loss` is not a single number, the lengths differ, or the tape does not record.
    pub fn backward(&mut self, loss: Var, gradients: &mut [f32]) {
        let value = self.value(loss);
        assert!(value.images() == 1 && value.layout().channels == 1, "the loss is a single number");
        assert_eq!(gradients.len(), self.params.len(), "gradients are laid out as parameters");
        let length = value.data().len();
        let batch = self.batch();
        let mut seed = self.memory.spare.take(length);
        seed.reshape(1, 1, [1, 1]);
        seed.data_mut()[0] = 1.0;
        let node = &mut self.memory.nodes[loss.0];
        node.gradient = seed;
        node.has_gradient = true;
        let records = std::mem::take(&mut self.memory.records);
        let mut backward =
            Backward { isa: self.isa, params: self.params, gradients, memory: self.memory, batch };
        for record in records.iter().rev() {
            let y = record.output();
            let node = &mut backward.memory.nodes[y.0];
            if !std::mem::take(&mut node.has_gradient) {
                continue;
            }
            // Taken out of the table before its operation runs: nothing aliases it.
            let mut dy = std::mem::take(&mut node.gradient);
            backward.start_lap(y);
            record.backward(&mut backward, &mut dy);
            backward.lap(Part::Rest);
            backward.memory.spare.put(dy);
        }
        self.memory.records = records;
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    let unused = tensor.layout().blocks * LANES - tensor.images();
    let last = LANES - unused;
    let (block, blocks) = (tensor.layout().block_len(), tensor.layout().blocks);
    tensor.data().chunks_exact(block.max(1)).enumerate().all(|(i, values)| {
        let lanes = if i + 1 == blocks { last } else { LANES };
        values.chunks_exact(LANES).all(|v| v[..lanes].iter().all(|x| x.is_finite()))
    })
}

/// What the backward of an operation works with.
pub(crate) struct Backward<'a> {
    pub isa: Isa,
    pub params: &'a [f32],
    pub gradients: &'a mut [f32],
    pub memory: &'a mut Memory,
    pub batch: usize,
}

impl Backward<'_> {
    pub(crate) fn value(&self, var: Var) -> &Tensor {
        self.memory.value(var)
    }

    pub(crate) fn needs_gradient(&self, var: Var) -> bool {
        self.memory.nodes[var.0].needs_gradient
    }

    /// The gradient of `x`, taken out to be written or added to, if it is wanted.
    pub(crate) fn gradient(&mut self, x: Var) -> Option<(Tensor, Store)> {
        self.needs_gradient(x).then(|| self.room(x))
    }

    /// Room for the gradient of `x`, wanted or not, taken out as by [`Backward::gradient`].
    pub(crate) fn room(&mut self, x: Var) -> (Tensor, Store) {
        let node = &mut self.memory.nodes[x.0];
        let mut dx = std::mem::take(&mut node.gradient);
        if dx.data().is_empty() {
            dx = self.memory.spare.take(node.value.data().len());
        }
        let Layout { channels, size, .. } = *node.value.layout();
        dx.reshape(node.value.images(), channels, size);
        let store = if node.has_gradient { Store::Accumulate } else { Store::Overwrite };
        (dx, store)
    }

    /// Makes `dy` the gradient of `x`, of the same shape, or adds it to what is there.
    pub(crate) fn give(&mut self, x: Var, dy: &mut Tensor) {
        let node = &mut self.memory.nodes[x.0];
        if node.has_gradient {
            kernels::add_assign(self.isa, node.gradient.data_mut(), dy.data());
        } else if node.needs_gradient {
            std::mem::swap(&mut node.gradient, dy);
            node.has_gradient = true;
        }
    }

    /// Puts a written gradient back.
    pub(crate) fn put(&mut self, x: Var, dx: Tensor) {
        let node = &mut self.memory.nodes[x.0];
        node.gradient = dx;
        node.has_gradient = node.needs_gradient;
    }
}
