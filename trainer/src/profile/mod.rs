//! Where the time of a run went: operation by operation, and what a step does beside them.

mod critical;

pub use critical::CriticalPath;
pub(crate) use critical::{Anatomy, Imagined};

use crate::workers::Workers;
use autograd::OperationTime;
use kernels::fma_chains;
use model::Network;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Work of a step that is not on the tape.
#[derive(Clone, Copy)]
pub(crate) enum Chore {
    /// Labels and the origin of images; their pixels are on the tape.
    Loading,
    Zeroing,
    Summing,
    Optimiser,
    /// What other ranks have to do with it: sending, waiting for them, and summing what they sent.
    Ranks,
}

/// The time of each chore in nanoseconds, of all threads together.
#[derive(Default)]
pub(crate) struct Chores([AtomicU64; 5]);

/// Does `work`, and takes its time if there is where to put it.
pub(crate) fn timed<T>(chores: Option<&Chores>, chore: Chore, work: impl FnOnce() -> T) -> T {
    let Some(Chores(times)) = chores else { return work() };
    let started = Instant::now();
    let done = work();
    times[chore as usize].fetch_add(started.elapsed().as_nanos() as u64, Relaxed);
    done
}

impl Chores {
    pub(crate) fn time(&self, chore: Chore) -> Duration {
        Duration::from_nanos(self.0[chore as usize].load(Relaxed))
    }
}

/// The FMA peak of a thread while all are busy, in operations per second: the best of a few rounds of
/// a millisecond. To be called inside [`Workers::run`].
pub(crate) fn fma_peak(workers: &Workers) -> f64 {
    const ROUNDS: usize = 5;
    const PIECES: usize = 64;
    const STEPS: usize = 5000;
    let round = || {
        let started = Instant::now();
        let leaf = |_, _: &mut _| fma_chains(workers.isa(), STEPS);
        let flops = workers.sum(0..PIECES * workers.threads(), &leaf, &|a, b| a + b);
        flops as f64 / started.elapsed().as_secs_f64() / workers.threads() as f64
    };
    (0..ROUNDS).map(|_| round()).fold(0.0, f64::max)
}

/// The work of a profiled run, and the time that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Threads.
    pub threads: usize,
    /// Ranks that train together, each on as many threads; the profile is of one.
    pub ranks: usize,
    /// Bytes that the other ranks have sent.
    pub received: u64,
    /// Steps.
    pub steps: usize,
    /// Training images, each as often as it was seen.
    pub images: usize,
    /// From the beginning to the end of each epoch's training, summed.
    pub training: Duration,
    /// The same for validation.
    pub validation: Duration,
    /// The FMA peak of a thread while all are busy, in operations per second.
    pub peak: f64,
}

/// Where the time of a run went. As text it is a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The run as a whole.
    pub totals: Totals,
    /// What fills the time of training: together exactly its duration times the threads.
    pub rows: Vec<Row>,
    /// What a step would take on more cores.
    pub critical_path: Option<CriticalPath>,
}

/// A part of the work. Times are sums over all steps and threads; zero is what was not done, or not
/// apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The layer's name; empty for what belongs to none.
    pub layer: String,
    /// What was done.
    pub operation: String,
    /// Channels, rows and columns of its output.
    pub output: Option<[usize; 3]>,
    /// The forward pass.
    pub forward: Duration,
    /// The whole backward pass.
    pub backward: Duration,
    /// Of the backward pass, the gradient of the input.
    pub data_gradient: Duration,
    /// Of the backward pass, the gradient of the weights.
    pub weight_gradient: Duration,
    /// All of it.
    pub total: Duration,
    /// Floating-point operations of its products, two for a multiply-add.
    pub flops: f64,
}

impl Profile {
    pub(crate) fn new(
        network: &Network,
        threads: Vec<Vec<OperationTime>>,
        chores: &Chores,
        totals: Totals,
    ) -> Profile {
        let mut operations: Vec<OperationTime> = vec![];
        for (i, time) in threads.iter().flat_map(|times| times.iter().enumerate()) {
            match operations.get_mut(i) {
                Some(sum) => sum.add(time),
                None => operations.push(time.clone()),
            }
        }
        let (inputs, operations): (Vec<_>, Vec<_>) =
            operations.iter().partition(|time| time.operation == "input");
        let mut rows: Vec<Row> =
            operations.into_iter().map(|time| row(network, time, totals.images)).collect();
        let pixels: Duration = inputs.into_iter().map(OperationTime::total).sum();
        let mut chore = |name: &str, total| {
            rows.push(Row { operation: name.to_owned(), total, ..Row::default() });
        };
        chore("loading images", chores.time(Chore::Loading) + pixels);
        chore("zeroing gradients", chores.time(Chore::Zeroing));
        chore("summing gradients", chores.time(Chore::Summing));
        chore("optimiser", chores.time(Chore::Optimiser));
        if totals.ranks > 1 {
            chore("joining ranks", chores.time(Chore::Ranks));
        }
        let known: Duration = rows.iter().map(|row| row.total).sum();
        let all = totals.training * totals.threads as u32;
        rows.push(Row {
            operation: "waiting, and the rest".to_owned(),
            total: all.saturating_sub(known),
            ..Row::default()
        });
        Profile { totals, rows, critical_path: None }
    }
}

/// The row of an operation on the tape.
fn row(network: &Network, time: &OperationTime, images: usize) -> Row {
    let mut row = Row {
        operation: "loss".to_owned(),
        forward: time.forward,
        backward: time.backward,
        data_gradient: time.data_gradient,
        weight_gradient: time.weight_gradient,
        total: time.total(),
        ..Row::default()
    };
    if time.operation == "cross-entropy" {
        return row;
    }
    let summary = &network.summaries()[time.layer];
    row.layer = summary.name.clone();
    row.output = Some(time.output);
    let own = time.operation.find(" + ").unwrap_or(time.operation.len());
    let (own, along) = time.operation.split_at(own);
    if summary.kind.starts_with(own) {
        row.operation = summary.kind.clone() + along;
        let passes = [time.forward, time.data_gradient, time.weight_gradient];
        let passes = passes.iter().filter(|time| !time.is_zero()).count();
        row.flops = 2.0 * (images * summary.multiply_adds * passes) as f64;
    } else {
        // A part of a block, or a pooling that could not be fused.
        row.operation = time.operation.to_owned();
    }
    row
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { threads, ranks, received, steps, images, training, validation, peak } =
            self.totals;
        let whole = |name: &str, time: Duration| Row {
            layer: name.into(),
            total: time * threads as u32,
            ..Row::default()
        };
        let flops = self.rows.iter().map(|row| row.flops).sum();
        let sums = [
            Row { flops, ..whole("training", training) },
            whole("validation", validation),
            whole("all", training + validation),
        ];
        let mut lines = vec![HEADER.map(str::to_owned)];
        lines.extend(self.rows.iter().chain(&sums).map(|row| self.cells(row)));

        let plural = if threads == 1 { "" } else { "s" };
        writeln!(
            f,
            "profile: {steps} steps, {images} images, {threads} thread{plural}; a thread's FMA peak, \
             measured in the run: {:.1} GFLOP/s",
            peak / 1e9
        )?;
        if ranks > 1 {
            let bytes = received / steps.max(1) as u64;
            writeln!(f, "one of {ranks} ranks; the others send it {bytes} bytes per step")?;
        }
        writeln!(f, "times in µs per step, the threads added up; rates are those of a thread")?;
        let column = |i: usize| lines.iter().map(|line| line[i].chars().count()).max();
        let widths: [usize; COLUMNS] = std::array::from_fn(|i| column(i).unwrap_or(0));
        for line in &lines {
            let mut text = String::new();
            for (i, (cell, width)) in line.iter().zip(widths).enumerate() {
                text += &match i {
                    0..LEFT => format!("{cell:width$}  "),
                    _ => format!("{cell:>width$}  "),
                };
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        match &self.critical_path {
            Some(path) => write!(f, "{path}"),
            None => Ok(()),
        }
    }
}

const COLUMNS: usize = 11;
/// Columns of words.
const LEFT: usize = 3;
const HEADER: [&str; COLUMNS] = [
    "layer",
    "operation",
    "output",
    "forward",
    "backward",
    "of it data",
    "weights",
    "total",
    "share %",
    "GFLOP/s",
    "% of peak",
];

impl Profile {
    /// What the table says of a row.
    fn cells(&self, row: &Row) -> [String; COLUMNS] {
        let Totals { threads, steps, training, validation, peak, .. } = self.totals;
        let known = |number: f64| if number > 0.0 { format!("{number:.1}") } else { String::new() };
        let per_step = |time: Duration| known(time.as_secs_f64() * 1e6 / steps as f64);
        let (seconds, all) = (row.total.as_secs_f64(), (training + validation).as_secs_f64());
        let rate = if row.flops > 0.0 { row.flops / seconds } else { 0.0 };
        let shape = row.output.map(|[channels, height, width]| match [height, width] {
            [1, 1] => channels.to_string(),
            _ => format!("{channels}×{height}×{width}"),
        });
        [
            row.layer.clone(),
            row.operation.clone(),
            shape.unwrap_or_default(),
            per_step(row.forward),
            per_step(row.backward),
            per_step(row.data_gradient),
            per_step(row.weight_gradient),
            format!("{:.1}", seconds * 1e6 / steps as f64),
            format!("{:.1}", 100.0 * seconds / (all * threads as f64)),
            known(rate / 1e9),
            known(100.0 * rate / peak),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::preset;

    fn time(layer: usize, operation: &'static str, times: [u64; 4]) -> OperationTime {
        let [forward, backward, data_gradient, weight_gradient] = times.map(Duration::from_micros);
        let output = [6, 12, 12];
        OperationTime {
            layer,
            operation,
            output,
            forward,
            backward,
            data_gradient,
            weight_gradient,
        }
    }

    /// Two threads, 4 steps of 8 images in 1 ms, and 250 µs of validation.
    fn example() -> Profile {
        let network = Network::new([1, 28, 28], &preset("lenet", 10).unwrap()).unwrap();
        let thread = |times| {
            vec![
                time(0, "input", [100, 0, 0, 0]),
                time(0, "convolution + ReLU + max-pool", times),
                time(7, "linear + ReLU", [10, 30, 15, 10]),
                time(11, "cross-entropy", [1, 2, 0, 0]),
            ]
        };
        let chores = Chores::default();
        timed(Some(&chores), Chore::Summing, || ());
        chores.0[Chore::Summing as usize].store(40_000, Relaxed);
        let totals = Totals {
            threads: 2,
            ranks: 1,
            received: 0,
            steps: 4,
            images: 32,
            training: Duration::from_micros(1000),
            validation: Duration::from_micros(250),
            peak: 100e9,
        };
        let threads = vec![thread([200, 300, 0, 250]), vec![], thread([100, 200, 0, 150])];
        Profile::new(&network, threads, &chores, totals)
    }

    #[test]
    fn rows_fill_the_time_of_the_threads() {
        let Profile { rows, totals, .. } = example();
        let sum: Duration = rows.iter().map(|row| row.total).sum();
        assert_eq!(sum, 2 * totals.training);
        let micros = |i: usize| rows[i].total.as_micros();
        assert_eq!([0, 1, 2].map(micros), [800, 80, 6]);
        let named = |name: &str| rows.iter().find(|row| row.operation == name).unwrap().total;
        assert_eq!(named("loading images").as_micros(), 200);
        assert_eq!(named("summing gradients").as_micros(), 40);
        assert_eq!(named("waiting, and the rest").as_micros(), 2000 - 800 - 80 - 6 - 200 - 40);
        // Two products of the first layer, whose input needs no gradient; three of the other.
        assert_eq!(rows[0].flops, 2.0 * 32.0 * 2.0 * (6 * 25 * 24 * 24) as f64);
        assert_eq!(rows[1].flops, 2.0 * 32.0 * 3.0 * (256 * 120) as f64);
    }

    #[test]
    fn the_table_shows_shares_and_rates() {
        let table = example().to_string();
        let line = |start: &str| {
            let found = table.lines().find(|line| line.trim_start().starts_with(start));
            let words: Vec<&str> = found.expect(start).split_whitespace().collect();
            words[start.split_whitespace().count()..].join(" ")
        };
        // 11 059 200 operations in 800 µs of the 2500 that there were.
        let conv =
            "convolution 5×5 + ReLU + max-pool 6×12×12 75.0 125.0 100.0 200.0 32.0 13.8 13.8";
        assert_eq!(line("conv1"), conv);
        assert_eq!(line("loss"), "0.5 1.0 1.5 0.2");
        assert_eq!(line("training"), "500.0 80.0 8.5 8.5");
        assert_eq!(line("validation"), "125.0 20.0");
        assert_eq!(line("all"), "625.0 100.0");
        assert!(table.contains("4 steps, 32 images, 2 threads;"), "{table}");
        assert!(table.lines().all(|line| line == line.trim_end()), "{table}");
    }
}
