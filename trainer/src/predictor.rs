//! A trained network at work: images in, logits out.

use crate::input::{Images, Scaling};
use crate::workers::{Scratch, Workers};
use autograd::{Tape, Tensor, Workspace};
use dataset::Split;
use kernels::{Cores, LANES, Layout};
use model::{FewImages, Model, Room, StatisticsError};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Images of a shard at most: a multiple of sixteen whose activations stay in the cache.
const SHARD: usize = 64;

/// What a call with a few images writes.
#[derive(Debug, Default)]
struct Memory {
    room: Room,
    pixels: Vec<u8>,
}

/// Classifies images. A steady-state call allocates nothing, and an image has the same logits
/// whatever the batch around it and however many threads there are.
///
/// The first call with a few images, as many as fill too few lanes of a vector of sixteen, lays out the weights once
/// more for such calls: a predictor is to be kept.
#[derive(Debug)]
pub struct Predictor<'a> {
    model: &'a Model,
    scaling: Scaling,
    workers: &'a Workers,
    /// Nothing, if the network has a layer of a kind that is computed on tapes alone.
    few: OnceLock<Option<FewImages>>,
    /// What calls with a few images write, taken by whoever needs one.
    rooms: Mutex<Vec<Memory>>,
}

impl<'a> Predictor<'a> {
    /// A predictor that runs this model on these threads.
    ///
    /// # Errors
    /// As [`model::Network::check_statistics`]: a model that was loaded or saved has none.
    pub fn new(model: &'a Model, workers: &'a Workers) -> Result<Predictor<'a>, StatisticsError> {
        model.network.check_statistics(&model.weights)?;
        let scaling = Scaling::new(model.network.input()[0], &model.mean, &model.std);
        let (few, rooms) = (OnceLock::new(), Mutex::default());
        Ok(Predictor { model, scaling, workers, few, rooms })
    }

    /// The model.
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// How many logits an image has, one for each class of the model: where the network has one output for two, that
    /// of the first is zero, so that the softmax of both is what the output says.
    pub fn classes(&self) -> usize {
        self.outputs().max(self.model.classes.len().min(2))
    }

    fn outputs(&self) -> usize {
        self.model.network.classes()
    }

    /// Writes the logits of images 0, 1, … to `logits`, row-major `[images][classes]`; `image` gives
    /// the bytes of each, rows of pixels, the channels of a pixel side by side. What takes less time than waking
    /// another thread is computed by the calling one. A loop that runs inside [`Workers::run`] hands
    /// work to the others fastest.
    ///
    /// # Panics
    /// If `logits` is not a whole number of rows, or an image has another size than the network's
    /// input.
    pub fn logits<B: AsRef<[u8]>>(&self, image: impl Fn(usize) -> B + Sync, logits: &mut [f32]) {
        let classes = self.classes();
        assert!(logits.len().is_multiple_of(classes), "{} logits, by {classes}", logits.len());
        let images = logits.len() / classes;
        if let Some(few) = self.few(images) {
            return self.channels(few, image, logits);
        }
        let shard = shard(images, self.workers.threads());
        self.workers.pieces_by_teams(logits, shard * classes, &|i, logits, scratch, cores| {
            self.shard(cores, &mut scratch.tape, |lane| image(i * shard + lane), logits);
        });
    }

    /// Writes the logits of these images of a split, as [`Predictor::logits`] does.
    ///
    /// # Panics
    /// If `logits` is not a row for each, an image is beyond the split, or it has another size than the
    /// network's input.
    pub fn logits_of(&self, split: &Split, images: &[u32], logits: &mut [f32]) {
        let classes = self.classes();
        assert_eq!(logits.len(), images.len() * classes, "logits of {} images", images.len());
        let bytes = split.image_len();
        if let Some(few) = self.few(images.len()) {
            return self.with_memory(|Memory { pixels, .. }| {
                let cores = self.workers.isa().into();
                let images = Images::new(split, images, &self.scaling);
                images.pixels(cores, None, pixels);
                self.channels(few, |i| &pixels[i * bytes..][..bytes], logits);
            });
        }
        let shard = shard(images.len(), self.workers.threads());
        self.workers.pieces_by_teams(logits, shard * classes, &|i, logits, scratch, cores| {
            let indices = &images[i * shard..][..logits.len() / classes];
            let images = Images::new(split, indices, &self.scaling);
            let Scratch { tape, pixels, .. } = scratch;
            images.pixels(cores, None, pixels);
            self.shard(cores, tape, |lane| &pixels[lane * bytes..][..bytes], logits);
        });
    }

    /// The weights as a few images need them, if so many are few. The answer decides no bit.
    fn few(&self, images: usize) -> Option<&FewImages> {
        if !(1..LANES).contains(&images) {
            return None;
        }
        let Model { network, weights, .. } = self.model;
        let few = self.few.get_or_init(|| {
            let few = FewImages::new(self.workers.isa(), network, weights);
            few.expect("checked when the predictor was made")
        });
        few.as_ref().filter(|few| few.suits(images))
    }

    /// Lends memory that no other call uses.
    fn with_memory(&self, f: impl FnOnce(&mut Memory)) {
        let rooms = || self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = rooms().pop().unwrap_or_default();
        f(&mut memory);
        rooms().push(memory);
    }

    /// Logits with channels in lanes: a thread computes some images by itself where there are several, else parts
    /// of each operation.
    fn channels<B: AsRef<[u8]>>(
        &self,
        few: &FewImages,
        image: impl Fn(usize) -> B + Sync,
        logits: &mut [f32],
    ) {
        let (isa, classes) = (self.workers.isa(), self.classes());
        let images = logits.len() / classes;
        let some = |cores: Cores<'_>, first: usize, logits: &mut [f32]| {
            self.with_memory(|Memory { room, .. }| {
                let image = |i: usize| image(first + i);
                let load =
                    |layout: &Layout, to: &mut [f32]| self.scaling.channels(isa, layout, image, to);
                let images = logits.len() / classes;
                let outputs = &mut logits[..images * self.outputs()];
                few.logits(cores, room, images, load, outputs);
                if self.outputs() < classes {
                    in_pairs(logits);
                }
            });
        };
        let threads = self.workers.threads();
        if threads == 1 || !few.is_worth_waking(images) {
            some(isa.into(), 0, logits);
        } else if images == 1 {
            self.workers.run(|| self.workers.with_all(|cores| some(cores, 0, logits)));
        } else {
            let each = images.div_ceil(threads);
            self.workers.pieces(logits, each * classes, &|i, logits, _: &mut Scratch| {
                some(isa.into(), i * each, logits);
            });
        }
    }

    fn shard<B: AsRef<[u8]>>(
        &self,
        cores: Cores<'_>,
        memory: &mut Workspace,
        image: impl Fn(usize) -> B,
        logits: &mut [f32],
    ) {
        let Model { network, weights, .. } = self.model;
        let images = logits.len() / self.classes();
        let mut tape = Tape::evaluation(cores, memory, weights);
        let x = self.scaling.input(&mut tape, images, network.input(), image);
        let y = network.forward(&mut tape, x);
        rows(tape.value(y), self.classes(), logits);
    }
}

/// Images of a shard: as many shards as keep all threads busy to the end.
fn shard(images: usize, threads: usize) -> usize {
    let shards = images.div_ceil(SHARD).next_multiple_of(threads).max(1);
    images.div_ceil(shards).next_multiple_of(LANES).max(LANES)
}

/// Logits out of their lanes, one image after another, each as many.
fn rows(outputs: &Tensor, classes: usize, rows: &mut [f32]) {
    let missing = classes - outputs.channels();
    for (image, row) in rows.chunks_exact_mut(classes).enumerate() {
        row[..missing].fill(0.0);
        for (channel, value) in row[missing..].iter_mut().enumerate() {
            *value = outputs.get(image, channel, [0, 0]);
        }
    }
}

/// Puts a zero before each of the outputs that fill the first half.
fn in_pairs(logits: &mut [f32]) {
    for image in (0..logits.len() / 2).rev() {
        (logits[2 * image + 1], logits[2 * image]) = (logits[image], 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::Isa;
    use model::{Init, Network, Role, batch_norm2d, conv2d, flatten, layers, linear, relu};

    #[test]
    fn shards_keep_threads_busy() {
        assert_eq!([shard(0, 2), shard(1, 2), shard(16, 8), shard(17, 2)], [16; 4]);
        assert_eq!([shard(64, 1), shard(64, 2), shard(192, 2)], [64, 32, 48]);
        assert_eq!([shard(65, 1), shard(256, 2), shard(1000, 2)], [48, 64, 64]);
    }

    fn example() -> Model {
        let layers = layers![conv2d(40, 3), batch_norm2d(), relu(), flatten(), linear(5)];
        let network = Network::new([2, 6, 5], &layers).unwrap();
        Model {
            preset: "custom".into(),
            weights: network.initialise(1, Init::Pytorch),
            network,
            classes: vec![String::new(); 5],
            mean: vec![0.3, 0.4],
            std: vec![0.5],
            multi_label: false,
            preparation: None,
        }
    }

    /// A model that was put together by hand, its scale trained and its running statistics not.
    #[test]
    fn a_model_without_statistics_is_refused() {
        let (mut model, workers) = (example(), Workers::new(Isa::detect(), 1).unwrap());
        let scale = model.network.parameters().iter().find(|p| p.role == Role::Scale).unwrap();
        scale.place.of_mut(&mut model.weights)[3] = 0.5;
        let error = Predictor::new(&model, &workers).unwrap_err();
        assert_eq!(Err(error), model.network.check_statistics(&model.weights));
    }

    /// One output for two classes is the logit of the second, beside a zero, for a batch and for few images.
    #[test]
    fn one_output_for_two_classes() {
        let mut model = example();
        let layers = layers![conv2d(40, 3), batch_norm2d(), relu(), flatten(), linear(1)];
        model.network = Network::new([2, 6, 5], &layers).unwrap();
        model.weights = model.network.initialise(1, Init::Pytorch);
        model.classes = vec!["no".into(), "yes".into()];
        let workers = Workers::new(Isa::detect(), 2).unwrap();
        let predictor = Predictor::new(&model, &workers).unwrap();
        let bytes: Vec<u8> = (0..40 * 60).map(|i| (i * i / 7 + i) as u8).collect();
        let image = |i: usize| &bytes[i * 60..][..60];
        let mut all = vec![f32::NAN; 40 * 2];
        predictor.logits(image, &mut all);
        assert!(all.chunks(2).all(|row| row[0] == 0.0 && row[1].is_finite() && row[1] != 0.0));
        for images in 1..16 {
            let mut some = vec![f32::NAN; images * 2];
            predictor.logits(image, &mut some);
            assert_eq!(some, all[..images * 2], "{images}");
        }
        assert!(predictor.few(1).is_some());
    }

    /// One image alone, a few, and more than a round of shards, on one thread and several, in the
    /// pool and outside: always the same bits.
    #[test]
    fn logits_depend_on_the_image_alone() {
        let model = example();
        let bytes: Vec<u8> = (0..300 * 60).map(|i| (i * i / 7 + i) as u8).collect();
        let image = |i: usize| &bytes[i * 60..][..60];
        let workers = [1, 2, 3].map(|threads| Workers::new(Isa::detect(), threads).unwrap());
        let mut expected = vec![0.0; 300 * 5];
        let alone = Predictor::new(&model, &workers[0]).unwrap();
        for (i, row) in expected.chunks_exact_mut(5).enumerate() {
            alone.logits(|_| image(i), row);
        }
        assert!(alone.few(1).is_some() && alone.few(16).is_none());
        assert!(expected.windows(2).all(|pair| pair[0] != pair[1] && pair[0].is_finite()));
        for workers in &workers {
            let predictor = Predictor::new(&model, workers).unwrap();
            for images in [0, 1, 2, 5, 11, 15, 16, 17, 150, 300] {
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
