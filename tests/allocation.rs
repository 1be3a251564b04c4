//! A steady-state step allocates nothing: counted by the allocator itself, and so in a test binary of
//! its own, with one test. Only threads that are at work count: the test harness has one that allocates when it waits.

mod support {
    pub mod data;
}

use autograd::{Buffer, Tape, Workspace};
use kernels::Isa;
use model::{
    Init, Layer, Network, adaptive_avg_pool2d, adaptive_max_pool2d, add, again, avg_pool2d,
    batch_norm2d, concat, conv2d, dropout, dropout2d, flatten, gelu, global_avg_pool2d, group_norm,
    hardswish, instance_norm, layer_norm, layers, linear, log_softmax, max_pool2d, multiply, prelu,
    relu, relu6, silu, softmax, stochastic_depth,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use support::data;
use tracking::tensorboard::EventWriter;
use trainer::{Predictor, Trainer, Workers};

thread_local! {
    /// Whether what this thread asks of the allocator counts.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, counting what is asked of it.
struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // A thread that ends has no locals any more.
    if COUNTED.try_with(Cell::get).unwrap_or(false) {
        ASKED.fetch_add(1, Relaxed);
    }
}

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
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

/// What the others are made of too.
const PRESETS: [&str; 6] = ["lenet", "lenet-li", "cnn-bn", "vgg", "resnet", "resnet20"];

#[test]
fn steady_state() {
    COUNTED.set(true);
    for preset in PRESETS {
        tape(preset, &model::preset(preset, 10).unwrap());
    }
    let mixed = layers![
        batch_norm2d(),
        conv2d(4, 3).padding(1),
        gelu(),
        dropout(0.3),
        flatten(),
        linear(10)
    ];
    tape("mixed", &mixed);
    let kinds = layers![
        conv2d(8, 3),
        group_norm(2),
        silu(),
        max_pool2d(3).stride(2).ceil(),
        layer_norm(),
        prelu().per_channel(),
        avg_pool2d(3).stride(1).padding(1).uncounted_padding(),
        instance_norm(),
        dropout2d(0.3),
        adaptive_max_pool2d([4, 3]),
        batch_norm2d().affine(false).momentum(0.2),
        hardswish(),
        adaptive_avg_pool2d([2, 3]),
        stochastic_depth(0.2),
        layer_norm().over_pixels(),
        softmax(),
        flatten(),
        linear(10),
        log_softmax(),
    ];
    tape("kinds", &kinds);
    let graph = layers![
        conv2d(4, 3).padding(1).named("conv"),
        batch_norm2d().named("norm"),
        global_avg_pool2d(),
        linear(4).named("gate"),
        multiply().taking(["norm", "gate"]),
        conv2d(4, 1).taking(["input"]),
        again("conv").taking(["input"]),
        add().taking(["4", "5", "6"]),
        relu(),
        concat().taking(["8", "norm"]),
        dropout(0.3),
        flatten(),
        linear(10)
    ];
    tape("graph", &graph);
    let convolutions = layers![
        conv2d(12, 3).padding(1).no_bias(),
        batch_norm2d(),
        relu6(),
        conv2d(12, 3).groups(12).stride(2).padding(1).no_bias(),
        batch_norm2d(),
        relu6(),
        conv2d(8, [4, 3]).groups(4).same(),
        silu(),
        conv2d(16, 3).groups(8).padding(1).reflect(),
        relu(),
        max_pool2d(2),
        flatten(),
        linear(10)
    ];
    tape("convolutions", &convolutions);
    let changes = [("augment.shift", "2"), ("augment.flip", "0.5"), ("augment.erase", "0.5")];
    training(
        ("model.preset", "lenet"),
        &[
            ("augment.crop_area", "[0.3, 1.0]"),
            ("augment.rotate", "30"),
            ("augment.contrast", "0.3"),
            ("augment.saturation", "0.3"),
            ("augment.trivial", "true"),
        ],
    );
    for preset in PRESETS {
        training(("model.preset", preset), &[]);
        training(("model.preset", preset), &changes);
        prediction(preset);
    }
    for kind in ["sgd", "adam", "adamw", "rmsprop", "adagrad"] {
        let groups = "[{ match = '*.bias', lr_scale = 0.5 }]";
        let clipping = [("optimizer.clip_value", "0.1"), ("optimizer.clip_norm", "1.0")];
        let more = [("optimizer.groups", groups), ("optimizer.ema", "0.9")];
        training(
            ("model.preset", "cnn-bn"),
            &[&[("optimizer.kind", kind)], &clipping[..], &more].concat(),
        );
    }
    let weighted = [("model.class_weights", "balanced"), ("data.sampling", "balanced")];
    training(("model.preset", "cnn-bn"), &weighted);
    training(("model.layers", DEPTHWISE), &[]);
    log();
}

/// Channels in groups, one to a group and several.
const DEPTHWISE: &str = "[
    { kind = 'conv', outputs = 32, kernel = 3, padding = 'same', bias = false }, { kind = 'batch-norm' },
    { kind = 'relu6' },
    { kind = 'conv', outputs = 32, kernel = 3, padding = 1, groups = 32, bias = false },
    { kind = 'batch-norm' }, { kind = 'relu6' },
    { kind = 'conv', outputs = 64, kernel = 3, padding = 1, padding_mode = 'reflect', groups = 4 },
    { kind = 'global-avg-pool' }, { kind = 'flatten' }, { kind = 'linear' },
]";

/// Steps over a whole shard and a short one, with an evaluation between them: from the third on,
/// nothing.
fn tape(name: &str, layers: &[Layer]) {
    let network = Network::new([1, 16, 16], layers).unwrap();
    let weights = network.initialise(1, Init::He);
    let mut gradients = Buffer::zeros(network.len());
    let mut memory = Workspace::default();
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
        assert!(count > 0 || step > 1, "this thread is not counted");
    }
}

/// One thread that counts.
fn worker() -> Workers {
    crew(1)
}

/// Threads that count.
fn crew(threads: usize) -> Workers {
    let workers = Workers::new(Isa::detect(), threads).unwrap();
    // None has two pieces, as each waits for the others.
    let all = Barrier::new(threads);
    workers.pieces(&mut vec![(); threads], 1, &|_, _, _| {
        COUNTED.set(true);
        all.wait();
    });
    workers
}

/// From the third step on nothing, neither by steps nor by validations, on any number of threads.
fn training(network: (&str, &str), more: &[(&str, &str)]) {
    for threads in [1, 2, 5] {
        training_on(threads, network, more);
    }
}

fn training_on(threads: usize, network: (&str, &str), more: &[(&str, &str)]) {
    let (_directory, data) = data::random(48, [1, 16, 16], 10);
    let workers = crew(threads);
    for batch in ["48", "32", "16"] {
        let settings = [
            network,
            ("data.batch_size", batch),
            ("data.shard", "16"),
            ("optimizer.lr", "1e-4"),
            ("stop.epochs", "4"),
        ];
        let recipe = data::recipe(&[&settings, more].concat());
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        let mut counts = Vec::with_capacity(4);
        let before = ASKED.load(Relaxed);
        trainer.run(|_| counts.push(ASKED.load(Relaxed))).unwrap();
        assert!(counts[0] > before, "the worker is not counted");
        let epochs: Vec<usize> = counts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(epochs[1..], [0; 2], "{network:?} by {batch}, {threads} threads, {more:?}");
    }
}

/// Calls of one image, of a few, of several shards, and of a short one: from the second round on, nothing.
fn prediction(preset: &str) {
    let (_directory, data) = data::random(200, [1, 16, 16], 10);
    let workers = worker();
    let recipe = data::recipe(&[("model.preset", preset)]);
    let model = Trainer::new(&recipe, &data, &workers).unwrap().model();
    let (predictor, images) = (Predictor::new(&model, &workers).unwrap(), data.train().unwrap());
    let numbers: Vec<u32> = (0..200).collect();
    let copies: Vec<Vec<u8>> = (0..200).map(|i| images.image(i)).collect();
    let mut logits = [0.0; 2000];
    workers.run(|| {
        for round in 1..=5 {
            let count = allocations(|| {
                for images_of_call in [1, 5, 200, 70] {
                    let logits = &mut logits[..images_of_call * 10];
                    predictor.logits_of(images, &numbers[..images_of_call], logits);
                    predictor.logits(|i| &copies[i], logits);
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
