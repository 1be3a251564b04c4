//! A batch through the network: loss and gradient, or an evaluation.

use crate::augment::Augmentation;
use crate::data::Split;
use crate::profile::{Chore, Chores, timed};
use crate::ranks::Ranks;
use crate::scores::rank_among;
use crate::workers::Workers;
use autograd::{Buffer, Memory, Tape, Tensor, Var};
use kernels::LANES;
use model::Network;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Mutex;

/// Images per shard of an evaluation.
const EVALUATION_SHARD: usize = 64;

/// value = pixel · scale + shift, per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Scaling {
    /// (pixel / 255 − mean) / std for this many channels; mean and std hold one value or one per
    /// channel.
    pub fn new(channels: usize, mean: &[f64], std: &[f64]) -> Scaling {
        let of = |values: &[f64], c: usize| values[c.min(values.len() - 1)];
        let scale = (0..channels).map(|c| (1.0 / (255.0 * of(std, c))) as f32).collect();
        let shift = (0..channels).map(|c| (-of(mean, c) / of(std, c)) as f32).collect();
        Scaling { scale, shift }
    }

    /// Fills a tensor with images, sixteen to a block.
    pub(crate) fn load<'i>(
        &self,
        isa: kernels::Isa,
        image: impl Fn(usize) -> &'i [u8],
        tensor: &mut Tensor,
    ) {
        let mut block = *tensor.layout();
        block.blocks = 1;
        let images = tensor.images();
        let blocks = tensor.data_mut().chunks_exact_mut(block.len());
        for (first, out) in (0..images).step_by(LANES).zip(blocks) {
            let lanes = LANES.min(images - first);
            let mut bytes: [&[u8]; LANES] = [&[]; LANES];
            for (lane, bytes) in bytes[..lanes].iter_mut().enumerate() {
                *bytes = image(first + lane);
            }
            kernels::load_images(isa, &bytes[..lanes], &block, &self.scale, &self.shift, out);
        }
    }
}

/// What a network makes of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean cross-entropy.
    pub loss: f64,
    /// The part of images whose class is the most probable one: top-1.
    pub accuracy: f64,
    /// The part of images whose class is among the five most probable ones; not asked in training.
    pub top5: Option<f64>,
}

/// Images, and how they are seen.
#[derive(Clone, Copy)]
pub(crate) struct Images<'a> {
    pub split: &'a Split,
    pub indices: &'a [u32],
    pub scaling: &'a Scaling,
}

/// Everything that the gradient of a batch depends on.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub network: &'a Network,
    pub weights: &'a [f32],
    pub images: Images<'a>,
    /// What changes the images first, if anything.
    pub augmentation: Option<&'a Augmentation>,
    pub shard: usize,
    pub seed: u64,
    pub epoch: u32,
    pub smoothing: f32,
    pub chores: Option<&'a Chores>,
}

/// The sums over a part of a batch.
pub(crate) struct Sums {
    /// Laid out as the parameters: of loss / batch, and each batch norm's statistics.
    pub gradients: Buffer,
    /// Of the cross-entropy.
    pub loss: f64,
    pub correct: usize,
}

/// Gradient buffers that are not in use: as many as were ever needed at once, which is about
/// threads × log₂(shards).
#[derive(Default)]
pub(crate) struct Spare(Mutex<Vec<Buffer>>);

impl Spare {
    /// A buffer of this length, with anything in it.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let found = self.0.lock().unwrap_or_else(|e| e.into_inner()).pop();
        found.filter(|b| b.len() == len).unwrap_or_else(|| Buffer::zeros(len))
    }

    pub(crate) fn put(&self, buffer: Buffer) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(buffer);
    }
}

impl Images<'_> {
    fn range(&self, range: Range<usize>) -> Self {
        Images { indices: &self.indices[range], ..*self }
    }

    /// The images on the tape, sixteen to a block; where there are `changed` ones, those.
    fn load(&self, tape: &mut Tape<'_>, network: &Network, changed: Option<&[u8]>) -> Var {
        let [channels, height, width] = network.input();
        let (isa, bytes) = (tape.isa(), channels * height * width);
        let image = |i: usize| match changed {
            Some(changed) => &changed[i * bytes..][..bytes],
            None => self.split.image(self.indices[i] as usize),
        };
        let fill = |tensor: &mut Tensor| self.scaling.load(isa, image, tensor);
        tape.input(self.indices.len(), channels, [height, width], fill)
    }

    /// The images, one after another, as they are changed in this epoch.
    fn change(&self, augmentation: &Augmentation, epoch: u32, memory: &mut Vec<u8>) {
        let bytes = self.split.image(0).len();
        memory.resize(self.indices.len() * bytes, 0);
        for (&i, to) in self.indices.iter().zip(memory.chunks_exact_mut(bytes)) {
            augmentation.apply(epoch, i, self.split.image(i as usize), to);
        }
    }

    /// The labels.
    fn labels(&self, memory: &mut Vec<u32>) {
        memory.clear();
        memory.extend(self.indices.iter().map(|&i| u32::from(self.split.label(i as usize))));
    }
}

impl Batch<'_> {
    /// How many shards it has.
    pub(crate) fn shards(&self) -> usize {
        self.images.indices.len().div_ceil(self.shard)
    }

    /// The sums over these ranges of its shards. To be called inside [`Workers::run`].
    pub(crate) fn gradients(
        &self,
        workers: &Workers,
        spare: &Spare,
        ranges: &[Range<usize>],
        sums: &mut [Option<Sums>],
    ) {
        let leaf = |i: usize, memory: &mut Memory| {
            let mut gradients = spare.take(self.network.len());
            timed(self.chores, Chore::Zeroing, || gradients.fill(0.0));
            self.shard_gradient(workers.isa(), i, memory, gradients)
        };
        let join = |mut a: Sums, b: Sums| {
            timed(self.chores, Chore::Summing, || {
                kernels::add_assign(workers.isa(), &mut a.gradients, &b.gradients);
            });
            spare.put(b.gradients);
            Sums { loss: a.loss + b.loss, correct: a.correct + b.correct, ..a }
        };
        workers.sums(ranges, sums, &leaf, &join);
    }

    /// Adds the gradient of one shard to `gradients`.
    fn shard_gradient(
        &self,
        isa: kernels::Isa,
        shard: usize,
        memory: &mut Memory,
        mut gradients: Buffer,
    ) -> Sums {
        let batch = self.images.indices.len();
        let first = shard * self.shard;
        let images = self.images.range(first..batch.min(first + self.shard));
        let (labels, pixels) = timed(self.chores, Chore::Loading, || {
            memory.set_origin(self.seed, self.epoch, images.indices.iter().copied());
            let mut labels = memory.take_labels();
            images.labels(&mut labels);
            let mut pixels = memory.take_pixels();
            if let Some(augmentation) = self.augmentation {
                images.change(augmentation, self.epoch, &mut pixels);
            }
            (labels, pixels)
        });
        let mut tape = Tape::training(isa, memory, self.weights, batch);
        let x = images.load(&mut tape, self.network, self.augmentation.map(|_| &pixels[..]));
        let logits = self.network.forward(&mut tape, x);
        let (loss, sums) = tape.softmax_cross_entropy(logits, &labels, self.smoothing);
        tape.backward(loss, &mut gradients);
        memory.put_labels(labels);
        memory.put_pixels(pixels);
        Sums { gradients, loss: sums.loss, correct: sums.correct }
    }

    /// The layer whose output is the first not to be finite, looking at every layer of every shard.
    pub(crate) fn find_fault(&self, isa: kernels::Isa) -> Option<usize> {
        let mut memory = Memory::default();
        memory.set_checked(true);
        (0..self.shards()).find_map(|shard| {
            self.shard_gradient(isa, shard, &mut memory, Buffer::zeros(self.network.len()));
            memory.fault()
        })
    }
}

/// What a part of an evaluation has found.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    /// The sum of the cross-entropy.
    loss: f64,
    /// Images whose class is the most probable one, and among the five most probable ones.
    correct: [usize; 2],
}

impl Found {
    pub(crate) fn to_words(self) -> [u64; 3] {
        [self.loss.to_bits(), self.correct[0] as u64, self.correct[1] as u64]
    }

    pub(crate) fn from_words([loss, top1, top5]: [u64; 3]) -> Found {
        Found { loss: f64::from_bits(loss), correct: [top1 as usize, top5 as usize] }
    }
}

/// Loss and accuracy of the network on images, of which each rank does a share. To be called inside
/// [`Workers::run`].
///
/// # Panics
/// If there are no images.
pub(crate) fn evaluate(
    workers: &Workers,
    network: &Network,
    weights: &[f32],
    images: Images<'_>,
    ranks: &Ranks<'_>,
) -> Evaluation {
    let total = images.indices.len();
    let leaf = |i: usize, memory: &mut Memory| {
        let first = i * EVALUATION_SHARD;
        let images = images.range(first..total.min(first + EVALUATION_SHARD));
        let mut labels = memory.take_labels();
        images.labels(&mut labels);
        let mut tape = Tape::evaluation(workers.isa(), memory, weights);
        let x = images.load(&mut tape, network, None);
        let logits = network.forward(&mut tape, x);
        let (_, sums) = tape.softmax_cross_entropy(logits, &labels, 0.0);
        let in_five = in_top5(tape.value(logits), &labels);
        memory.put_labels(labels);
        Found { loss: sums.loss, correct: [sums.correct, in_five] }
    };
    let join = |a: Found, b: Found| Found {
        loss: a.loss + b.loss,
        correct: [0, 1].map(|i| a.correct[i] + b.correct[i]),
    };
    let find = |ranges: &[Range<usize>], found: &mut [Option<Found>]| {
        workers.sums(ranges, found, &leaf, &join);
    };
    let found = ranks.evaluation(total.div_ceil(EVALUATION_SHARD), find, join);
    let Found { loss, correct: [correct, in_five] } = found;
    let part = |images: usize| images as f64 / total as f64;
    Evaluation { loss: loss / total as f64, accuracy: part(correct), top5: Some(part(in_five)) }
}

/// How many labels are among the five most probable classes of their images.
fn in_top5(logits: &Tensor, labels: &[u32]) -> usize {
    let (layout, data) = (logits.layout(), logits.data());
    let found = |(image, &label): (usize, &u32)| {
        let first = image / LANES * layout.block_len() + image % LANES;
        let logit = |class: usize| data[first + layout.offset(class, [0, 0])];
        let label = label as usize;
        rank_among((0..layout.channels).map(logit), logit(label), label) < 5
    };
    labels.iter().enumerate().filter(|&image| found(image)).count()
}
