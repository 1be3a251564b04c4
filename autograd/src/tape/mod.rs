//! The tape: operations are run and recorded; `backward` runs the records in reverse.
//!
//! A training step repeats the shapes of the last one, so everything that a step writes is kept in
//! [`Workspace`] and found again by its place in the order of operations: a steady-state step allocates
//! nothing.

mod backward;
mod profile;
mod workspace;

pub(crate) use backward::Backward;
pub use profile::OperationTime;
pub(crate) use profile::Part;
pub(crate) use workspace::Origin;
pub use workspace::Workspace;

use crate::ops::Record;
use crate::{Generation, Tensor};
use kernels::{Cores, Isa, LANES, Layout, Precision};
use std::fmt;

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
    /// The parameter's part of a flat buffer.
    pub fn of<'a>(&self, buffer: &'a [f32]) -> &'a [f32] {
        &buffer[self.offset..self.offset + self.len]
    }

    /// The parameter's part of a flat buffer, to be written.
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

/// The operands of an operation that takes any number: a part of the workspace's list.
#[derive(Clone, Debug)]
pub(crate) struct Operands(std::ops::Range<usize>);

impl Operands {
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// One run of a network: forward, and backward where it was recorded.
pub struct Tape<'a> {
    pub(crate) cores: Cores<'a>,
    pub(crate) params: &'a [f32],
    pub(crate) workspace: &'a mut Workspace,
    mode: Mode,
    layer: usize,
    precision: Precision,
    generation: Option<Generation>,
}

impl fmt::Debug for Tape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Tape");
        debug.field("cores", &self.cores).field("mode", &self.mode).field("layer", &self.layer);
        debug.field("precision", &self.precision);
        debug.field("params", &self.params.len()).finish_non_exhaustive()
    }
}

impl<'a> Tape<'a> {
    /// A tape that records, for images of a batch of `batch`, of which it may see a part: losses are
    /// divided by `batch`, and batch statistics weighted by the part. Its operations are done by a team, in
    /// parts side by side, or with an [`Isa`] alone one after another: the same bits.
    #[must_use]
    pub fn training(
        cores: impl Into<Cores<'a>>,
        workspace: &'a mut Workspace,
        params: &'a [f32],
        batch: usize,
    ) -> Self {
        if let Some(mut evaluation) = workspace.evaluation.take() {
            workspace.take_free(&mut evaluation.free);
            workspace.evaluation = Some(evaluation);
        }
        Tape::new(cores.into(), workspace, params, Mode::Training { batch })
    }

    /// A tape that does not record: batch norm uses its running statistics, dropout does nothing.
    #[must_use]
    pub fn evaluation(
        cores: impl Into<Cores<'a>>,
        workspace: &'a mut Workspace,
        params: &'a [f32],
    ) -> Self {
        // What the other kind has used up is used again: its tapes do not run at the same time.
        let Workspace { evaluation, free, .. } = workspace;
        let workspace: &mut Workspace = evaluation.get_or_insert_default();
        workspace.take_free(free);
        Tape::new(cores.into(), workspace, params, Mode::Evaluation)
    }

    fn new(cores: Cores<'a>, workspace: &'a mut Workspace, params: &'a [f32], mode: Mode) -> Self {
        workspace.rewind();
        let (layer, precision, generation) = (0, Precision::F32, None);
        let mut tape = Tape { cores, params, workspace, mode, layer, precision, generation };
        tape.start_watch();
        tape
    }

    /// The SIMD path.
    pub fn isa(&self) -> Isa {
        self.cores.isa()
    }

    /// What its operations are computed on.
    pub fn cores(&self) -> Cores<'a> {
        self.cores
    }

    /// The parameters that the tape was made with.
    pub fn parameters(&self) -> &'a [f32] {
        self.params
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

    /// In which precision the products of the next convolutions are, forward and backward: `f32` until it is set.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// What [`Tape::set_precision`] set.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Promises that every tape of this workspace to which the same generation is given has the same parameters, so
    /// that transforms of weights are kept from tape to tape. Without it none are.
    pub fn set_generation(&mut self, generation: Generation) {
        self.generation = Some(generation);
    }

    pub(crate) fn generation(&self) -> Option<Generation> {
        self.generation
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
        self.workspace.value(var)
    }

    /// The gradient of a [`Tape::variable`] after [`Tape::backward`]; `None` if nothing depends on it.
    pub fn gradient(&self, var: Var) -> Option<&Tensor> {
        let node = &self.workspace.nodes[var.0];
        node.has_gradient.then_some(&node.gradient)
    }

    pub(crate) fn needs_gradient(&self, var: Var) -> bool {
        self.workspace.nodes[var.0].needs_gradient
    }

    /// The next value's place, taken out to be written.
    pub(crate) fn output(
        &mut self,
        images: usize,
        channels: usize,
        size: [usize; 2],
    ) -> (Var, Tensor) {
        let index = self.workspace.next_node();
        let mut value = std::mem::take(&mut self.workspace.nodes[index].value);
        let len = Layout::new(images.div_ceil(LANES), channels, size).len();
        if value.data().len() != len && (self.mode == Mode::Evaluation || value.data().is_empty()) {
            self.workspace.free.put(value);
            value = self.workspace.free.take(len);
        }
        value.reshape(images, channels, size);
        (Var(index), value)
    }

    /// Takes out a value that is to be changed and finished again.
    pub(crate) fn take_value(&mut self, var: Var) -> Tensor {
        std::mem::take(&mut self.workspace.nodes[var.0].value)
    }

    /// Says that nothing will read `x` any more, not even the backward of operations that have read it: its room
    /// is used for the next value of its length, also on a tape that records, unless the operation that computed
    /// `x` needs it for its own backward.
    pub fn spent(&mut self, x: Var) {
        let mut records = self.workspace.records.iter().rev();
        let producer = records.find(|record| record.output() == x);
        if self.mode == Mode::Evaluation || producer.is_some_and(|record| !record.reads_output()) {
            let value = std::mem::take(&mut self.workspace.nodes[x.0].value);
            self.workspace.free.put(value);
        }
    }

    /// Says that no further operation will read `x`, but perhaps the backward of one that has: only a tape that
    /// does not record uses its room for the next value of its length.
    pub fn done(&mut self, x: Var) {
        if self.mode == Mode::Evaluation {
            let value = std::mem::take(&mut self.workspace.nodes[x.0].value);
            self.workspace.free.put(value);
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
        if self.workspace.checked && self.workspace.fault.is_none() && !is_finite(&value) {
            self.workspace.fault = Some(self.layer);
        }
        let node = &mut self.workspace.nodes[var.0];
        node.shape = (value.images(), value.channels(), value.size());
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
            self.workspace.records.push(record);
        }
        var
    }

    /// Keeps the operands of an operation that takes any number.
    pub(crate) fn operands(&mut self, x: &[Var]) -> Operands {
        let operands = &mut self.workspace.operands;
        let first = operands.len();
        operands.extend_from_slice(x);
        Operands(first..operands.len())
    }

    /// An empty table for the values of a network: with [`Tape::put_table`] it is allocated once.
    #[must_use]
    pub fn take_table(&mut self) -> Vec<Var> {
        let mut table = std::mem::take(&mut self.workspace.table);
        table.clear();
        table
    }

    /// Gives back what [`Tape::take_table`] gave.
    pub fn put_table(&mut self, table: Vec<Var>) {
        self.workspace.table = table;
    }

    /// Adds the gradient of `loss`, a single number, to `gradients`, which is laid out as the
    /// parameters are.
    ///
    /// # Panics
    /// If `loss` is not a single number, the lengths differ, or the tape does not record.
    pub fn backward(&mut self, loss: Var, gradients: &mut [f32]) {
        let value = self.value(loss);
        assert!(
            value.images() == 1 && value.layout().channels() == 1,
            "the loss is a single number"
        );
        assert_eq!(gradients.len(), self.params.len(), "gradients are laid out as parameters");
        let length = value.data().len();
        let batch = self.batch();
        let mut seed = self.workspace.free.take(length);
        seed.reshape(1, 1, [1, 1]);
        seed.data_mut()[0] = 1.0;
        let node = &mut self.workspace.nodes[loss.0];
        node.gradient = seed;
        node.has_gradient = true;
        let records = std::mem::take(&mut self.workspace.records);
        let mut backward = Backward {
            cores: self.cores,
            params: self.params,
            gradients,
            workspace: self.workspace,
            batch,
        };
        for record in records.iter().rev() {
            let y = record.output();
            let node = &mut backward.workspace.nodes[y.0];
            if !std::mem::take(&mut node.has_gradient) {
                continue;
            }
            // Taken out of the table before its operation runs: nothing aliases it.
            let mut dy = std::mem::take(&mut node.gradient);
            backward.start_lap(y);
            record.backward(&mut backward, &mut dy);
            backward.lap(Part::Rest);
            backward.workspace.free.put(dy);
            if backward.workspace.frugal {
                // What read it came after it, and is done.
                let value = std::mem::take(&mut backward.workspace.nodes[y.0].value);
                backward.workspace.free.put(value);
            }
        }
        self.workspace.records = records;
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    let unused = tensor.layout().blocks() * LANES - tensor.images();
    let last = LANES - unused;
    let (block, blocks) = (tensor.layout().block_len(), tensor.layout().blocks());
    tensor.data().chunks_exact(block.max(1)).enumerate().all(|(i, values)| {
        let lanes = if i + 1 == blocks { last } else { LANES };
        values.chunks_exact(LANES).all(|v| v[..lanes].iter().all(|x| x.is_finite()))
    })
}
