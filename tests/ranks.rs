//! Several ranks train the weights of one process, bit for bit: here as threads that channels connect,
//! each with a trainer of its own.

mod support {
    pub mod data;
}

use kernels::Isa;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;
use support::data::{Part, open};
use trainer::{
    Communicator, Dataset, Evaluation, Event, Progress, Recipe, Source, Stop, TrainError, Trainer,
    Workers, broadcast_text, gather_texts,
};

/// A rank that is a thread.
struct Thread {
    rank: usize,
    /// To each rank, and from each.
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Mutex<Receiver<Vec<u8>>>>,
}

impl Thread {
    /// As many as that, connected.
    fn ranks(size: usize) -> Vec<Thread> {
        let rank = |rank| Thread { rank, to: vec![], from: vec![] };
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

    fn gather(&self, own: &[u8], counts: &[usize], all: &mut [u8]) {
        self.to.iter().for_each(|to| to.send(own.to_vec()).unwrap());
        self.receive(counts, all);
    }

    fn exchange(&self, own: &[u8], sent: &[usize], all: &mut [u8], received: &[usize]) {
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
    let ranks = Thread::ranks(size);
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

fn recipe(settings: &[(&str, &str)]) -> Recipe {
    let setting = |&(field, value): &(&str, &str)| (field.to_owned(), value.to_owned());
    let settings: Vec<_> = settings.iter().map(setting).collect();
    Recipe::load("fast", &settings).unwrap()
}

/// Trains on ranks whose weights are not those of rank 0 before they join; returns the state of each
/// and its validations.
fn train(recipe: &Recipe, data: &Dataset, size: usize) -> Vec<(State, Vec<Evaluation>)> {
    on_ranks(size, |rank| {
        let workers = Workers::new(Isa::detect(), 1 + rank.rank() % 2).unwrap();
        let mut trainer = Trainer::new(recipe, data, &workers).unwrap();
        if rank.rank() > 0 {
            trainer.weights_mut().fill(0.5);
        }
        trainer.join_ranks(rank).unwrap();
        let mut validations = vec![];
        trainer
            .run_observed(&mut |_: &Trainer<'_>, event: Event<'_>| {
                if let Event::Validation(found) = event {
                    validations.push(found.evaluation);
                }
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        (state(&trainer), validations)
    })
}

#[test]
fn weights_are_those_of_one_process() {
    let (train_part, test) =
        (Part::random(330, [1, 12, 12], 3, 1), Part::random(200, [1, 12, 12], 3, 2));
    let (_directory, data) = open(&train_part, Some(&test));
    let small = r#"[{ kind = "conv", out = 4, kernel = 3 }, "batch_norm", "relu", { kind = "pool" },
        "flatten", { kind = "linear", out = 3 }]"#;
    let _ = small;
    let base = [("stop.epochs", "2"), ("data.validation", "test"), ("model.preset", "cnn-bn")];
    let changes: [&[(&str, &str)]; 4] = [
        // Shards of 16: seven of a full batch, and two of the last one, of which one is short.
        &[("data.batch_size", "100"), ("data.shard", "16")],
        &[("data.batch_size", "32"), ("data.shard", "16"), ("optimizer.ema", "0.9")],
        &[
            ("data.batch_size", "90"),
            ("data.shard", "16"),
            ("augment.shift", "1"),
            ("augment.flip", "0.5"),
            ("optimizer.kind", "adam"),
            ("optimizer.clip_norm", "0.5"),
        ],
        // A batch is a shard: all ranks but one have nothing to do.
        &[("data.batch_size", "60"), ("data.shard", "64")],
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
