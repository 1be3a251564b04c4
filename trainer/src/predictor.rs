//! A trained network at work: images in, logits out.

use crate::batch::Scaling;
use crate::workers::Workers;
use autograd::{Memory, Tape, Tensor};
use kernels::LANES;
use model::Model;

/// Images of a shard at most: a multiple of sixteen whose activations stay in the cache.
const SHARD: usize = 64;

/// Classifies images. A steady-state call allocates nothing, and an image has the same logits
/// whatever the batch around it and however many threads there are.
pub struct Predictor<'a> {
    model: &'a Model,
    scaling: Scaling,
    workers: &'a Workers,
}

impl<'a> Predictor<'a> {
    /// Runs this model on these threads.
    pub fn new(model: &'a Model, workers: &'a Workers) -> Predictor<'a> {
        let scaling = Scaling::new(model.network.input()[0], &model.mean, &model.std);
        Predictor { model, scaling, workers }
    }

    /// The model.
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// Writes the logits of images 0, 1, … to `logits`, row-major `[images][classes]`; `image` gives
    /// the bytes of each, rows of pixels, the channels of a pixel side by side. Up to sixteen images
    /// are computed by the calling thread: no other is woken. A loop that runs inside
    /// [`Workers::run`] hands larger batches to the others fastest.
    ///
    /// # Panics
    /// If `logits` is not a whole number of rows, or an image has another size than the network's
    /// input.
    pub fn logits<'i>(&self, image: impl Fn(usize) -> &'i [u8] + Sync, logits: &mut [f32]) {
        let classes = self.model.network.classes();
        assert!(logits.len().is_multiple_of(classes), "{} logits, by {classes}", logits.len());
        let images = logits.len() / classes;
        let shard = shard(images, self.workers.threads());
        self.workers.pieces(logits, shard * classes, &|i, logits, memory: &mut Memory| {
            self.shard(memory, |lane| image(i * shard + lane), logits);
        });
    }

    fn shard<'i>(
        &self,
        memory: &mut Memory,
        image: impl Fn(usize) -> &'i [u8],
        logits: &mut [f32],
    ) {
        let Model { network, weights, .. } = self.model;
        let ([channels, height, width], isa) = (network.input(), self.workers.isa());
        let images = logits.len() / network.classes();
        let mut tape = Tape::evaluation(isa, memory, weights);
        let x = tape.input(images, channels, [height, width], |x| {
            self.scaling.load(isa, image, x);
        });
        let y = network.forward(&mut tape, x);
        rows(tape.value(y), logits);
    }
}

/// Images of a shard: as many shards as keep all threads busy to the end.
fn shard(images: usize, threads: usize) -> usize {
    let shards = images.div_ceil(SHARD).next_multiple_of(threads).max(1);
    images.div_ceil(shards).next_multiple_of(LANES).max(LANES)
}

/// Feature vectors out of their lanes, one after another.
fn rows(vectors: &Tensor, rows: &mut [f32]) {
    let layout = vectors.layout();
    for (image, row) in rows.chunks_exact_mut(layout.channels).enumerate() {
        let start = image / LANES * layout.block_len() + image % LANES;
        for (channel, value) in row.iter_mut().enumerate() {
            *value = vectors.data()[start + layout.offset(channel, [0, 0])];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::Isa;
    use model::{Init, Network, batch_norm2d, conv2d, flatten, linear, relu};

    #[test]
    fn shards_keep_threads_busy() {
        assert_eq!([shard(0, 2), shard(1, 2), shard(16, 8), shard(17, 2)], [16; 4]);
        assert_eq!([shard(64, 1), shard(64, 2), shard(192, 2)], [64, 32, 48]);
        assert_eq!([shard(65, 1), shard(256, 2), shard(1000, 2)], [48, 64, 64]);
    }

    /// One image alone, a few, and more than a round of shards, on one thread and several, in the
    /// pool and outside: always the same bits.
    #[test]
    fn logits_depend_on_the_image_alone() {
        let layers = [conv2d(3, 3), batch_norm2d(), relu(), flatten(), linear(5)];
        let network = Network::new([2, 6, 5], &layers).unwrap();
        let model = Model {
            preset: "custom".into(),
            weights: network.initialise(1, Init::Pytorch),
            network,
            classes: vec![String::new(); 5],
            mean: vec![0.3, 0.4],
            std: vec![0.5],
        };
        let bytes: Vec<u8> = (0..300 * 60).map(|i| (i * i / 7 + i) as u8).collect();
        let image = |i: usize| &bytes[i * 60..][..60];
        let workers = [1, 2, 3].map(|threads| Workers::new(Isa::detect(), threads).unwrap());
        let mut expected = vec![0.0; 300 * 5];
        for (i, row) in expected.chunks_exact_mut(5).enumerate() {
            Predictor::new(&model, &workers[0]).logits(|_| image(i), row);
        }
        assert!(expected.windows(2).all(|pair| pair[0] != pair[1] && pair[0].is_finite()));
        for workers in &workers {
            let predictor = Predictor::new(&model, workers);
            for images in [0, 1, 16, 17, 150, 300] {
                let mut logits = vec![0.0; images * 5];
                predictor.logits(image, &mut logits);
                assert_eq!(logits, expected[..images * 5]);
                logits.fill(0.0);
                workers.run(|| predictor.logits(image, &mut logits));
                assert_eq!(logits, expected[..images * 5]);
            }
        }
    }
}
