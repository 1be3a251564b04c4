//! The tape: operations are run and recorded; `backward` runs the records in reverse.
//!
//! A training step repeats the shapes of the last one, so everything that a step writes is kept in
//! [`Memory`] and found again by its place in the order of operations: a steady-state step allocates
//! nothing.

mod memory;

pub use memory::Memory;
pub(crate) use memory::Origin;

use crate::Tensor;
use crate::ops::Record;
use crate::profile::Part;
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
        memory.rewind();
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
        let index = self.memory.next_node();
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

fn is_finite(tensor: &Tensor) -> bool {
    let unused = tensor.layout().blocks * LANES - tensor.images();
    let last = LANES - unused;
    let (block, blocks) = (tensor.layout().block_len(), tensor.layout().blocks);
    tensor.data().chunks_exact(block.max(1)).enumerate().all(|(i, values)| {
        let lanes = if i + 1 == blocks { last } else { LANES };
        values.chunks_exact(LANES).all(|v| v[..lanes].iter().all(|x| x.is_finite()))
    })
}
