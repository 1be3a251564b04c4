//! Several ranks train the weights of one process, bit for bit: here as threads that channels connect,
//! each with a trainer of its own.

mod support {
    pub mod data;
}

use dataset::Dataset;
use kernels::Isa;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;
use support::data::{Part, open, random, recipe};
use tempfile::TempDir;
use tracking::{Checkpoints, Destination, Recorder, RunError};
use trainer::ranks::{Communicator, join_partitions};
use trainer::{Evaluation, Event, Progress, Recipe, Stop, Trainer, Workers};

/// A rank that is a thread.
struct Thread {
    rank: usize,
    /// To each rank, and from each.
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Mutex<Receiver<Vec<u8>>>>,
    largest: usize,
}

impl Thread {
    /// As many as that, connected by messages of at most so many bytes.
    fn ranks(size: usize, largest: usize) -> Vec<Thread> {
        let rank = |rank| Thread { rank, to: vec![], from: vec![], largest };
        let mut ranks: Vec<Thread> = (0..size).map(rank).collect();
        for from in 0..size {
            for to in 0..size {
                let (sender, receiver) = channel();
                ranks[from].to.push(sender);
                ranks[to].from.push(Mutex::new(receiver));
            }
        }
        ranks
    }

    fn receive(&self, counts: &[usize], all: &mut [u8]) {
        assert!(all.len() <= self.largest);
        let mut start = 0;
        for (from, &count) in self.from.iter().zip(counts) {
            let message = from.lock().unwrap().recv_timeout(Duration::from_secs(60)).unwrap();
            all[start..start + count].copy_from_slice(&message);
            start += count;
        }
        assert_eq!(start, all.len());
    }
}

impl Communicator for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn largest(&self) -> usize {
        self.largest
    }

    fn all_gather(&self, own: &[u8], counts: &[usize], all: &mut [u8]) {
        assert!(own.len() <= self.largest);
        self.to.iter().for_each(|to| to.send(own.to_vec()).unwrap());
        self.receive(counts, all);
    }

    fn all_to_all(&self, own: &[u8], sent: &[usize], all: &mut [u8], received: &[usize]) {
        assert!(own.len() <= self.largest);
        let mut rest = own;
        for (to, &count) in self.to.iter().zip(sent) {
            let (part, after) = rest.split_at(count);
            to.send(part.to_vec()).unwrap();
            rest = after;
        }
        self.receive(received, all);
    }
}

/// What each rank makes of `f`.
fn on_ranks<T: Send>(size: usize, f: impl Fn(&Thread) -> T + Sync) -> Vec<T> {
    on_ranks_with(size, usize::MAX, f)
}

/// The same, with messages of at most so many bytes.
fn on_ranks_with<T: Send>(size: usize, largest: usize, f: impl Fn(&Thread) -> T + Sync) -> Vec<T> {
    let ranks = Thread::ranks(size, largest);
    let f = &f;
    thread::scope(|scope| {
        let start = |rank| scope.spawn(move || f(rank));
        let threads: Vec<_> = ranks.iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Weights, the optimiser's state, the averaged weights, and what was seen on the way.
type State = (Vec<u32>, Vec<Vec<u32>>, Option<Vec<u32>>, Progress);

fn state(trainer: &Trainer<'_>) -> State {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let optimizer = trainer.optimizer_state().into_iter().map(|(_, state)| bits(state)).collect();
    let (weights, ema) = (bits(trainer.weights()), trainer.ema().map(bits));
    (weights, optimizer, ema, trainer.progress().clone())
}

/// Trains on ranks whose weights are not those of rank 0 before they join; returns the state of each
/// and its validations.
fn train(recipe: &Recipe, data: &Dataset, size: usize) -> Vec<(State, Vec<Evaluation>)> {
    train_with(recipe, data, size, usize::MAX)
}

/// The same, with messages of at most so many bytes.
fn train_with(
    recipe: &Recipe,
    data: &Dataset,
    size: usize,
    largest: usize,
) -> Vec<(State, Vec<Evaluation>)> {
    on_ranks_with(size, largest, |rank| {
        let workers = Workers::new(Isa::detect(), 1 + rank.rank() % 2).unwrap();
        let mut trainer = Trainer::new(recipe, data, &workers).unwrap();
        if rank.rank() > 0 {
            trainer.weights_mut().fill(0.5);
        }
        trainer.join_ranks(rank).unwrap();
        let mut validations = vec![];
        let mut observer = |_: &Trainer<'_>, event: Event<'_>| {
            if let Event::Validation(found) = event {
                validations.push(found.evaluation);
            }
            Ok(ControlFlow::Continue(()))
        };
        trainer.run_observed(&mut observer).unwrap();
        (state(&trainer), validations)
    })
}

/// A network for small images, with batch norm.
const CNN: (&str, &str) = ("model.preset", "cnn-bn");

/// 330 and 200 images of twelve by twelve in three classes.
fn small() -> (TempDir, Dataset) {
    let part = |images, seed| Part::random(images, [1, 12, 12], 3, seed);
    open(&part(330, 1), Some(&part(200, 2)))
}

#[test]
fn weights_are_those_of_one_process() {
    let (_directory, data) = small();
    let base = [CNN, ("stop.epochs", "2"), ("data.validation", "test")];
    let changes: [&[(&str, &str)]; 7] = [
        // Shards of 16: seven of a full batch, and two of the last one, of which one is short.
        &[("data.batch_size", "100"), ("data.shard", "16")],
        &[("data.batch_size", "100"), ("data.shard", "16"), ("model.precision", "bf16")],
        &[("data.batch_size", "32"), ("data.shard", "16"), ("optimizer.ema", "0.9")],
        &[
            ("data.batch_size", "90"),
            ("data.shard", "16"),
            ("augment.shift", "1"),
            ("augment.rotate", "15"),
            ("augment.trivial", "true"),
            ("augment.flip", "0.5"),
            ("optimizer.kind", "adam"),
            ("optimizer.clip_norm", "0.5"),
        ],
        // The mean is by weights that no rank's shards have all of.
        &[
            ("data.batch_size", "90"),
            ("data.shard", "16"),
            ("model.class_weights", "[0.25, 1, 3]"),
            ("data.sampling", "balanced"),
            ("augment.mixup", "0.4"),
            ("augment.cutmix", "1"),
        ],
        // A batch is a shard: all ranks but one have nothing to do.
        &[("data.batch_size", "60"), ("data.shard", "64")],
        // So many parameters that four ranks of a root each send slices.
        &[
            ("model.layers", LARGE),
            ("data.batch_size", "64"),
            ("data.shard", "16"),
            ("optimizer.lr", "0.01"),
        ],
    ];
    for change in changes {
        let recipe = recipe(&[&base[..], change].concat());
        let alone = train(&recipe, &data, 1).remove(0);
        assert_eq!(alone.1.len(), 2);
        for size in [2, 3, 4, 7] {
            for (rank, found) in train(&recipe, &data, size).iter().enumerate() {
                assert!(*found == alone, "rank {rank} of {size}: {change:?}");
            }
        }
    }
}

/// A hidden layer of 1000: 148,003 parameters.
const LARGE: &str = "[{ kind = 'flatten' }, { kind = 'linear', outputs = 1000 }, { kind = 'relu' }, \
    { kind = 'linear' }]";

/// Messages have a limit, which the gradient of a large network exceeds: of 592 kB here, sent whole by two
/// ranks and in slices by four and five.
#[test]
fn gradients_larger_than_a_message() {
    let (_directory, data) = small();
    let recipe = recipe(&[
        ("model.layers", LARGE),
        ("data.batch_size", "100"),
        ("data.shard", "16"),
        ("optimizer.lr", "0.01"),
        ("optimizer.ema", "0.9"),
        ("stop.iterations", "5"),
    ]);
    let alone = train(&recipe, &data, 1).remove(0);
    for (size, largest) in [(2, 100_000), (2, 50_001), (4, 100_000), (5, 20_000)] {
        for (rank, found) in train_with(&recipe, &data, size, largest).iter().enumerate() {
            assert!(*found == alone, "rank {rank} of {size}, messages of {largest} bytes");
        }
    }
}

/// Where the loss is not finite all ranks find so alike: none waits for another.
#[test]
fn divergence_is_common() {
    let (directory, data) = small();
    let recipe = recipe(&[CNN, ("optimizer.lr", "1e30"), ("data.shard", "16")]);
    let errors = on_ranks(3, |rank| {
        let workers = Workers::new(Isa::detect(), 1).unwrap();
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        trainer.join_ranks(rank).unwrap();
        if rank.rank() > 0 {
            return RunError::from(trainer.run(|_| {}).unwrap_err());
        }
        let out = directory.path().join("run");
        let run = Destination::at(&out, false).unwrap().make(&recipe).unwrap();
        Recorder::new(&run).keep(1).record(&mut trainer).unwrap_err()
    });
    assert!(errors.iter().all(RunError::is_common), "{errors:?}");
    assert!(errors[0].to_string().contains("; the last good checkpoint is "), "{}", errors[0]);
    assert!(errors[0].to_string().starts_with(&errors[1].to_string()), "{}", errors[1]);
}

/// One rank alone asks for the end; what goes on from there alone has the bits of a run that was never
/// interrupted.
#[test]
fn all_ranks_end_after_the_same_step() {
    let (directory, data) = small();
    let recipe =
        recipe(&[CNN, ("stop.epochs", "2"), ("data.batch_size", "40"), ("data.shard", "16")]);
    let whole = train(&recipe, &data, 1).remove(0).0;
    let checkpoints = Checkpoints::new(directory.path().join("checkpoints"), 1);
    let steps = on_ranks(3, |rank| {
        let workers = Workers::new(Isa::detect(), 1).unwrap();
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        trainer.join_ranks(rank).unwrap();
        let stop = trainer.run_observed(&mut |trainer: &Trainer<'_>, _: Event<'_>| {
            Ok(match rank.rank() == 1 && trainer.progress().step == 5 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        });
        assert_eq!(stop.unwrap(), Stop::Interrupted);
        if rank.rank() == 0 {
            checkpoints.save(&trainer.state()).unwrap();
        }
        trainer.progress().step
    });
    assert_eq!(steps, [6; 3]);
    let (checkpoint, _) = checkpoints.latest().unwrap();
    for size in [1, 2] {
        let states = on_ranks(size, |rank| {
            let workers = Workers::new(Isa::detect(), 1).unwrap();
            let mut trainer = match rank.rank() {
                0 => {
                    Trainer::resume(&recipe, &data, &workers, checkpoint.state().unwrap()).unwrap()
                }
                _ => Trainer::to_join(&recipe, &data, &workers).unwrap(),
            };
            trainer.join_ranks(rank).unwrap();
            trainer.run(|_| {}).unwrap();
            state(&trainer)
        });
        assert!(states.iter().all(|state| *state == whole), "resumed on {size}");
    }
}

#[test]
fn ranks_that_do_not_do_the_same_are_refused() {
    let (_directory, data) = small();
    let (_other_directory, other) = open(&Part::random(330, [1, 12, 12], 3, 7), None);
    let base = recipe(&[CNN, ("data.validation", "none")]);
    let faster = recipe(&[CNN, ("data.validation", "none"), ("optimizer.lr", "0.3")]);
    let join = |size, recipe_of: &(dyn Fn(usize) -> &'static str + Sync)| {
        on_ranks(size, |rank| {
            let workers = Workers::new(Isa::detect(), 1).unwrap();
            let what = recipe_of(rank.rank());
            let recipe = if what == "faster" { &faster } else { &base };
            let data = if what == "other" { &other } else { &data };
            let mut trainer = Trainer::new(recipe, data, &workers).unwrap();
            trainer.join_ranks(rank).map_err(|error| error.to_string())
        })
    };
    assert!(join(2, &|_| "base").iter().all(Result::is_ok));
    let start = "the ranks do not do the same: ";
    for found in join(3, &|rank| if rank == 2 { "faster" } else { "base" }) {
        let words = "rank 2 of 3: `optimizer.lr` of its recipe is 0.3, that of rank 0 0.001";
        assert_eq!(found.unwrap_err(), format!("{start}{words}"));
    }
    for found in join(2, &|rank| if rank == 1 { "other" } else { "base" }) {
        let words =
            "rank 1 of 2: its data are not those of rank 0: images, labels or classes differ";
        assert_eq!(found.unwrap_err(), format!("{start}{words}"));
    }
}

#[test]
fn ranks_without_a_shard_are_counted() {
    let (_directory, data) = random(100, [1, 12, 12], 3);
    let recipe = recipe(&[CNN, ("data.batch_size", "60"), ("data.shard", "32")]);
    let idle = on_ranks(5, |rank| {
        let workers = Workers::new(Isa::detect(), 1).unwrap();
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        assert_eq!(trainer.idle_ranks(), 0);
        trainer.join_ranks(rank).unwrap();
        trainer.idle_ranks()
    });
    assert_eq!(idle, [3; 5]);
}

/// Each rank has training images of its own: together they learn as from one set, which is scaled and whose
/// classes are weighted as one, and end with the weights of one process that is shown the same batches.
#[test]
fn training_images_that_are_shared_out() {
    let shape = [1, 16, 16];
    let (test, parts) = (Part::random(200, shape, 3, 2), [(220, 1), (110, 3)]);
    let parts = parts.map(|(images, seed)| Part::random(images, shape, 3, seed));
    let pixels = parts.iter().flat_map(|part| part.pixels.clone()).collect();
    let labels = parts.iter().flat_map(|part| part.labels.clone()).collect();
    let all = Part { shape, pixels, labels };
    let recipe = recipe(&[
        ("stop.epochs", "12"),
        ("optimizer.lr", "0.05"),
        ("data.batch_size", "64"),
        ("data.shard", "16"),
        ("model.class_weights", "balanced"),
    ]);
    let trained = on_ranks(2, |rank| {
        let (_directory, mut data) = open(&parts[rank.rank()], Some(&test));
        join_partitions(rank, &mut data).unwrap();
        let workers = Workers::new(Isa::detect(), 1).unwrap();
        let mut trainer = Trainer::new(&recipe, &data, &workers).unwrap();
        trainer.join_ranks(rank).unwrap();
        assert_eq!((trainer.training_images(), trainer.steps_per_epoch()), (330, 6));
        let mut steps = vec![];
        let mut observer = |trainer: &Trainer<'_>, event: Event<'_>| {
            steps.extend(matches!(event, Event::Step(_)).then(|| trainer.last_batch().to_vec()));
            Ok(ControlFlow::Continue(()))
        };
        trainer.run_observed(&mut observer).unwrap();
        let (model, best) = (trainer.model(), trainer.progress().best.unwrap());
        (state(&trainer), (model.mean, model.std), best.evaluation.accuracy, steps)
    });
    assert_eq!(trained[0], trained[1]);
    let (state_of_ranks, scaling, accuracy, steps) = &trained[0];
    assert!(*accuracy > 0.9, "{accuracy}");
    let (_directory, data) = open(&all, Some(&test));
    let workers = Workers::new(Isa::detect(), 1).unwrap();
    let mut alone = Trainer::new(&recipe, &data, &workers).unwrap();
    assert_eq!(*scaling, (alone.model().mean, alone.model().std));
    steps.iter().for_each(|images| assert!(alone.step(images).is_ok()));
    assert_eq!(state(&alone).0, state_of_ranks.0);
}

#[test]
fn shares_of_other_sets_are_refused() {
    let part = |shape, classes, seed| Part::random(50, shape, classes, seed);
    let (own, test) = (part([1, 12, 12], 3, 1), part([1, 12, 12], 3, 2));
    let (more_classes, smaller) = (part([1, 12, 12], 4, 1), part([1, 10, 12], 3, 1));
    for (other, other_test, says) in [
        (&own, &part([1, 12, 12], 3, 5), "rank 1: its test images or classes (0, 1, 2) are not"),
        (&more_classes, &test, "rank 1: its test images or classes (0, 1, 2, 3) are not"),
        (&smaller, &part([1, 10, 12], 3, 2), "rank 1: images of [1, 10, 12], those of rank 0"),
    ] {
        let found = on_ranks(2, |rank| {
            let (part, test) = if rank.rank() == 0 { (&own, &test) } else { (other, other_test) };
            let (_directory, mut data) = open(part, Some(test));
            join_partitions(rank, &mut data).unwrap_err()
        });
        assert!(found[0].to_string().starts_with(says), "{}", found[0]);
        assert_eq!(found[0], found[1]);
    }
}
