//! A steady-state step allocates nothing: counted by the allocator itself, and so in a test binary of
//! its own, with one test.

mod support {
    pub mod data;
}

use autograd::{Buffer, Memory, Tape};
use kernels::Isa;
use model::{Init, Layer, Network, PRESETS, batch_norm2d, conv2d, dropout, flatten, gelu, linear};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use support::data;
use trainer::tensorboard::EventWriter;
use trainer::{Predictor, Trainer, Workers};

/// The system's allocator, counting what is asked of it.
struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Allocations that `f` makes.
fn allocations(f: impl FnOnce()) -> usize {
    let before = ASKED.load(Relaxed);
    f();
    ASKED.load(Relaxed) - before
}

#[test]
fn steady_state() {
    for (preset, _) in PRESETS {
        tape(preset, &model::preset(preset, 10).unwrap());
    }
    let mixed =
        [batch_norm2d(), conv2d(4, 3).padding(1), gelu(), dropout(0.3), flatten(), linear(10)];
    tape("mixed", &mixed);
    let changes = [("augment.shift", "2"), ("augment.flip", "0.5"), ("augment.erase", "0.5")];
    for (preset, _) in PRESETS {
        training(preset, &[]);
        training(preset, &changes);
        prediction(preset);
    }
    for kind in ["sgd", "adam", "adamw", "rmsprop", "adagrad"] {
        let groups = "[{ match = '*.bias', lr_scale = 0.5 }]";
        let clipping = [("optimizer.clip_value", "0.1"), ("optimizer.clip_norm", "1.0")];
        let more = [("optimizer.groups", groups), ("optimizer.ema", "0.9")];
        training("cnn-bn", &[&[("optimizer.kind", kind)], &clipping[..], &more].concat());
    }
    log();
}

/// Steps over a whole shard and a short one, with an evaluation between them: from the third on,
/// nothing.
fn tape(name: &str, layers: &[Layer]) {
    let network = Network::new([1, 16, 16], layers).unwrap();
    let weights = network.initialise(1, Init::He);
    let mut gradients = Buffer::zeros(network.len());
    let mut memory = Memory::default();
    let labels = [3; 32];
    let mut run = |images: usize, recorded: bool| {
        memory.set_origin(1, 0, 0..images as u32);
        let mut tape = if recorded {
            Tape::training(Isa::detect(), &mut memory, &weights, 37)
        } else {
            Tape::evaluation(Isa::detect(), &mut memory, &weights)
        };
        let x = tape.input(images, 1, [16, 16], |x| x.data_mut().fill(0.5));
        let y = network.forward(&mut tape, x);
        let (loss, _) = tape.softmax_cross_entropy(y, &labels[..images], 0.1);
        if recorded {
            tape.backward(loss, &mut gradients);
        }
    };
    for step in 1..=10 {
        let count = allocations(|| {
            run(32, true);
            run(5, true);
            run(20, false);
        });
        assert!(count == 0 || step < 3, "{name}: {count} allocations in step {step}");
    }
}

/// From the third step on nothing, neither by steps nor by validations. (On one thread. Where there are
/// more, each makes its memory at its first shard, whenever that is.)
fn training(preset: &str, more: &[(&str, &str)]) {
    let (_directory, data) = data::random(48, [1, 16, 16], 10);
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    for batch in ["48", "32", "16"] {
        let settings = [
            ("model.preset", preset),
            ("data.batch_size", batch),
            ("data.shard", "16"),
            ("optimizer.lr", "1e-4"),
            ("stop.epochs", "4"),
        ];
        let recipe = data::recipe(&[&settings, more].concat());
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        let mut counts = Vec::with_capacity(4);
        trainer.run(|_| counts.push(ASKED.load(Relaxed))).unwrap();
        let epochs: Vec<usize> = counts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(epochs[1..], [0; 2], "{preset} in batches of {batch}, {more:?}");
    }
}

/// Calls of one image, of several shards, and of a short one: from the second round on, nothing.
fn prediction(preset: &str) {
    let (_directory, data) = data::random(200, [1, 16, 16], 10);
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let recipe = data::recipe(&[("model.preset", preset)]);
    let model = Trainer::new(&recipe, &data, &workers).unwrap().model();
    let (predictor, images) = (Predictor::new(&model, &workers), data.train().unwrap());
    let mut logits = [0.0; 2000];
    workers.run(|| {
        for round in 1..=5 {
            let count = allocations(|| {
                for images_of_call in [1, 200, 70] {
                    predictor.logits(|i| images.image(i), &mut logits[..images_of_call * 10]);
                }
            });
            assert!(count == 0 || round < 2, "{preset}: {count} allocations in round {round}");
        }
    });
}

/// The scalars of a step, until after what waits has been written: from the second step on, nothing.
fn log() {
    let directory = tempfile::TempDir::new().unwrap();
    let mut log = EventWriter::create(directory.path()).unwrap();
    let mut step = |step: usize| {
        let values = [("Loss", 1.0), ("Throughput", 2e5), ("LearningRate", 0.1 / step as f32)];
        log.scalars(step, 1.7e9, &values).unwrap();
    };
    step(1);
    assert_eq!(allocations(|| (2..5000).for_each(step)), 0, "scalars");
}
