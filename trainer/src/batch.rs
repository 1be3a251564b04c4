//! A training batch through the network: its loss and its gradient, shard by shard.

use crate::augment::Augmentation;
use crate::input::Images;
use crate::mix::Mix;
use crate::partial::{BufferPool, PartialGradient};
use crate::profile::{Chore, Chores, timed};
use crate::workers::{Pending, Scratch, Workers, rooms};
use autograd::{Buffer, Generation, Tape};
use kernels::{Cores, Cost, Isa, Loss, Targets};
use model::{Network, is_large};
use std::ops::Range;

/// Floats that pieces of a gradient are whole multiples of.
const UNIT: usize = 1024;

fn zero(cores: Cores<'_>, gradients: &mut [f32]) {
    let cost = Cost::floats(gradients.len());
    cores.each_piece(gradients, UNIT, cost, |_, piece| piece.fill(0.0));
}

/// Adds the gradient of one part of a batch to that of another.
pub(crate) fn add(cores: Cores<'_>, sum: &mut [f32], gradients: &[f32]) {
    let cost = Cost::floats(3 * sum.len());
    cores.each_piece(sum, UNIT, cost, |first, piece| {
        kernels::add_assign(cores.isa(), piece, &gradients[first..][..piece.len()]);
    });
}

/// Everything that the gradient of a batch depends on.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub network: &'a Network,
    pub weights: &'a [f32],
    /// Which weights these are.
    pub generation: Generation,
    pub images: Images<'a>,
    /// What changes the images first, if anything.
    pub augmentation: Option<&'a Augmentation>,
    /// How the images are mixed then, if they are.
    pub mix: Option<&'a Mix>,
    /// Images per shard.
    pub shard: usize,
    pub seed: u64,
    pub epoch: u32,
    pub loss: Loss<'a>,
    /// What the sum of the losses of the whole batch is divided by.
    pub divisor: f32,
    pub chores: Option<&'a Chores>,
}

impl Batch<'_> {
    /// How many shards it has.
    pub(crate) fn shards(&self) -> usize {
        self.images.indices.len().div_ceil(self.shard)
    }

    /// The sums over these ranges of its shards, one for each. To be called inside [`Workers::run`].
    pub(crate) fn gradients(
        &self,
        workers: &Workers,
        pool: &BufferPool,
        ranges: &[Range<usize>],
        (roots, pending): (&mut Vec<Option<PartialGradient>>, &mut Pending<PartialGradient>),
    ) {
        let queues = workers.shards_at_a_time(self.network.input());
        pool.reserve(rooms(ranges, queues), self.network.len());
        let leaf = |i: usize, scratch: &mut Scratch, cores: Cores<'_>| {
            let mut gradients = pool.take(self.network.len());
            timed(self.chores, Chore::Zeroing, || zero(cores, &mut gradients));
            self.shard_gradient(cores, i, scratch, gradients)
        };
        let join = |cores: Cores<'_>, mut a: PartialGradient, b: PartialGradient| {
            timed(self.chores, Chore::Summing, || add(cores, &mut a.gradients, &b.gradients));
            pool.put(b.gradients);
            PartialGradient { loss: a.loss + b.loss, correct: a.correct + b.correct, ..a }
        };
        roots.resize_with(ranges.len(), || None);
        workers.sums(ranges, roots, (pending, queues), &leaf, &join);
    }

    /// Adds the gradient of one shard to `gradients`.
    fn shard_gradient(
        &self,
        cores: Cores<'_>,
        shard: usize,
        scratch: &mut Scratch,
        mut gradients: Buffer,
    ) -> PartialGradient {
        timed(self.chores, Chore::Loading, || self.load(cores, shard, scratch));
        let images = self.images.shard(shard, self.shard);
        let Scratch { tape, labels, pixels, mixed, targets, .. } = scratch;
        let pixels = if self.mix.is_some() { mixed } else { pixels };
        let targets = match self.has_rows() {
            false => Targets::Labels(labels),
            true => Targets::Rows(targets),
        };
        tape.set_frugal(is_large(self.network.input()));
        let mut tape = Tape::training(cores, tape, self.weights, self.images.indices.len());
        tape.set_generation(self.generation);
        let x = images.input(&mut tape, self.network.input(), pixels);
        let outputs = self.network.forward(&mut tape, x);
        let (loss, sums) = tape.loss(outputs, targets, &self.loss, self.divisor);
        tape.backward(loss, &mut gradients);
        PartialGradient { gradients, loss: sums.loss, correct: sums.correct }
    }

    /// Whether what is to be found in images is more than a class of each.
    fn has_rows(&self) -> bool {
        self.mix.is_some() || self.images.split.is_multi_label()
    }

    /// The images of one shard, changed and mixed, and what is to be found in them.
    fn load(&self, cores: Cores<'_>, shard: usize, scratch: &mut Scratch) {
        let images = self.images.shard(shard, self.shard);
        let Scratch { tape, labels, pixels, mixed, targets, .. } = scratch;
        tape.set_origin(self.seed, self.epoch, images.numbers.iter().copied());
        let change = self.augmentation.map(|augmentation| (augmentation, self.epoch));
        let classes = self.loss.classes(self.network.classes());
        targets.clear();
        let Some(mix) = self.mix else {
            match self.has_rows() {
                false => images.labels(labels),
                true => images.rows(classes, targets),
            }
            return images.pixels(cores, change, pixels);
        };
        // The one before may be of another shard, of another rank even: it is loaded here as well.
        let before = self.images.before(shard * self.shard);
        before.rows(classes, targets);
        images.rows(classes, targets);
        let room = images.room(change);
        pixels.resize((1 + images.indices.len()) * room, 0);
        let (first, others) = pixels.split_at_mut(room);
        before.write(cores, change, first);
        images.write(cores, change, others);
        mix.images(cores, pixels, room, mixed);
        mix.targets(classes, targets);
    }

    /// The gradient of the first shard, by any team, to be measured: with all that is made of new weights.
    pub(crate) fn rehearse(&self, cores: Cores<'_>, scratch: &mut Scratch, room: &mut Buffer) {
        let mut gradients = std::mem::take(room);
        zero(cores, &mut gradients);
        let batch = Batch { generation: Generation::new(), ..*self };
        *room = batch.shard_gradient(cores, 0, scratch, gradients).gradients;
    }

    /// The layer whose output is the first not to be finite, looking at every layer of every shard.
    pub(crate) fn find_fault(&self, isa: Isa) -> Option<usize> {
        let mut scratch = Scratch::default();
        scratch.tape.set_checked(true);
        (0..self.shards()).find_map(|shard| {
            self.shard_gradient(isa.into(), shard, &mut scratch, Buffer::zeros(self.network.len()));
            scratch.tape.fault()
        })
    }
}
