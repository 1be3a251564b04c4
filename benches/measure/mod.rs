//! Contestants on the same work, in alternation, against the FMA peak, or that of bfloat16.
//!
//! A machine is rarely quiet, and its clock rate wanders. So every round gives one slice of time to
//! each contestant and one to [`fma_chains`]: what slows one slows its neighbours. Reported are the
//! median and the best over all rounds; GFLOP/s and the share of the peak from the best, since noise
//! only ever adds time; and ratios as the median of the ratios within a round.

// Each bench uses its part.
#![allow(dead_code)]

pub mod steps;

use kernels::{Isa, Precision, bf16_chains, fma_chains};
use std::io::Write;
use std::time::{Duration, Instant};
use trainer::Workers;

/// Long enough that reading the clock is lost in it, short enough to fit between interruptions.
const SLICE: Duration = Duration::from_micros(300);
const LEAST_ROUNDS: usize = 15;

/// Names a file to which every line of a table is added as JSON, for `scripts/check-speed`.
const SAVE_VARIABLE: &str = "BOBBIN_BENCH_SAVE";

/// Steps of the peak loop to a call: a few microseconds.
const PEAK_STEPS: usize = 1000;

/// One way of doing the work.
pub struct Contestant<'a> {
    name: String,
    work: Box<dyn FnMut() + 'a>,
    /// Which peak it is measured against.
    precision: Precision,
    /// Calls to a slice.
    calls: usize,
    /// Seconds per call in each round.
    seconds: Vec<f64>,
}

impl<'a> Contestant<'a> {
    /// A contestant that does the work once per call.
    pub fn new(name: impl Into<String>, work: impl FnMut() + 'a) -> Contestant<'a> {
        let (name, work, precision) = (name.into(), Box::new(work), Precision::F32);
        Contestant { name, work, precision, calls: 1, seconds: Vec::new() }
    }

    /// The same, whose products are in this precision.
    pub fn in_precision(self, precision: Precision) -> Contestant<'a> {
        Contestant { precision, ..self }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Least seconds per call.
    pub fn best(&self) -> f64 {
        best(&self.seconds)
    }

    /// Seconds per call in the middle round.
    pub fn median(&self) -> f64 {
        median(&self.seconds)
    }

    /// How many times as long as another it takes: the middle one of all rounds.
    pub fn ratio(&self, other: &Contestant<'_>) -> f64 {
        let pairs = self.seconds.iter().zip(&other.seconds);
        median(&pairs.map(|(own, other)| own / other).collect::<Vec<_>>())
    }

    /// Seconds per call over one slice.
    fn slice(&mut self) -> f64 {
        let start = Instant::now();
        for _ in 0..self.calls {
            (self.work)();
        }
        start.elapsed().as_secs_f64() / self.calls as f64
    }
}

/// Whether this process is to measure, rather than to run everything once as a test.
pub fn measuring() -> bool {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    given("--bench") && !given("--test")
}

/// What the work is measured against.
pub struct Peak<'a> {
    /// Floating-point operations of one call.
    pub flops: usize,
    pub work: Box<dyn FnMut() + 'a>,
    pub name: &'static str,
}

impl Peak<'_> {
    /// The FMA peak of one core.
    pub fn of_a_core(isa: Isa) -> Self {
        Peak::of_chains("FMA peak", move || fma_chains(isa, PEAK_STEPS))
    }

    /// The bf16 peak of one core.
    pub fn of_a_core_in_bf16(isa: Isa) -> Self {
        Peak::of_chains("bf16 peak", move || bf16_chains(isa, PEAK_STEPS))
    }

    fn of_chains(name: &'static str, chains: impl Fn() -> usize + 'static) -> Self {
        let flops = chains();
        let work = Box::new(move || {
            chains();
        });
        Peak { flops, work, name }
    }
}

impl<'a> Peak<'a> {
    /// The FMA peak of all threads of a pool at once: many short pieces, so that none waits for
    /// another, and milliseconds of them, so that each thread has found a core.
    pub fn of_workers(workers: &'a Workers) -> Self {
        Peak::of_all(workers, "FMA peak", fma_chains)
    }

    /// The bf16 peak of all threads of a pool at once.
    pub fn of_workers_in_bf16(workers: &'a Workers) -> Self {
        Peak::of_all(workers, "bf16 peak", bf16_chains)
    }

    fn of_all(workers: &'a Workers, name: &'static str, chains: fn(Isa, usize) -> usize) -> Self {
        const PIECES: usize = 64;
        const STEPS: usize = 20_000;
        let run = move || {
            let pieces = PIECES * workers.threads();
            let leaf = |_, _: &mut trainer::Scratch| chains(workers.isa(), STEPS);
            workers.run(|| workers.sum(0..pieces, &leaf, &|a, b| a + b))
        };
        let work = move || {
            run();
        };
        Peak { flops: run(), work: Box::new(work), name }
    }
}

/// Measures the contestants and prints a table, the first of them compared with each of the others.
/// `flops` are the floating-point operations of one call, two for a multiply-add.
pub fn compare<'a>(peak: Peak<'a>, work: &str, flops: usize, contestants: Vec<Contestant<'a>>) {
    compare_precisions(vec![peak], work, flops, contestants);
}

/// [`compare`] where those in bfloat16 are measured against the second peak, that of bfloat16.
pub fn compare_precisions<'a>(
    peaks: Vec<Peak<'a>>,
    work: &str,
    flops: usize,
    mut contestants: Vec<Contestant<'a>>,
) {
    let peaks = rounds_of(peaks, &mut contestants);
    print(work, flops as f64, &peaks, &contestants);
    save(work, flops as f64, &peaks, &contestants);
}

/// The operations per second of a peak, with its name.
type Rate = (&'static str, f64);

/// The peak that a contestant is measured against.
fn peak_of(one: &Contestant<'_>, peaks: &[Rate]) -> f64 {
    let in_bf16 = one.precision == Precision::Bf16;
    peaks[usize::from(in_bf16).min(peaks.len() - 1)].1
}

/// Measures the contestants in rounds; returns the operations per second of the peak.
pub fn rounds<'a>(peak: Peak<'a>, contestants: &mut Vec<Contestant<'a>>) -> f64 {
    rounds_of(vec![peak], contestants)[0].1
}

fn rounds_of<'a>(peaks: Vec<Peak<'a>>, contestants: &mut Vec<Contestant<'a>>) -> Vec<Rate> {
    let known: Vec<_> = peaks.iter().map(|peak| (peak.name, peak.flops as f64)).collect();
    contestants.extend(peaks.into_iter().map(|peak| Contestant::new(peak.name, peak.work)));
    for one in contestants.iter_mut() {
        one.slice();
        one.calls = (SLICE.as_secs_f64() / one.slice()).ceil().max(1.0) as usize;
    }
    let quick = std::env::args().any(|argument| argument == "--quick");
    let budget = Duration::from_millis(if quick { 150 } else { 1500 });
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < LEAST_ROUNDS || start.elapsed() < budget {
        for one in contestants.iter_mut() {
            let seconds = one.slice();
            one.seconds.push(seconds);
        }
        rounds += 1;
    }
    let peaks = contestants.split_off(contestants.len() - known.len());
    let rates = known.iter().zip(peaks).map(|((name, flops), peak)| (*name, flops / peak.best()));
    rates.collect()
}

/// Appends a line for each contestant to the file that the variable names, if it names one.
fn save(work: &str, flops: f64, peaks: &[Rate], contestants: &[Contestant<'_>]) {
    let Some(file) = std::env::var_os(SAVE_VARIABLE) else { return };
    let file = std::fs::File::options().create(true).append(true).open(file);
    let mut file = file.expect("the file can be written");
    let isa = Isa::from_env().expect("the variable names a path");
    for one in contestants {
        let line = serde_json::json!({
            "isa": isa.name(),
            "bench": env!("CARGO_CRATE_NAME"),
            "work": work,
            "name": one.name,
            "share": 100.0 * flops / peak_of(one, peaks) / one.best(),
        });
        writeln!(file, "{line}").expect("the file can be written");
    }
}

fn print(work: &str, flops: f64, peaks: &[Rate], contestants: &[Contestant<'_>]) {
    print!("\n{work}: {} rounds", contestants[0].seconds.len());
    for (name, rate) in peaks {
        print!(", {name} {:.1} GFLOP/s", rate / 1e9);
    }
    println!();
    println!(
        "  {:26}{:>12}{:>12}{:>10}{:>11}{:>8}",
        "", "median µs", "best µs", "GFLOP/s", "% of peak", "ratio"
    );
    for one in contestants {
        let rate = flops / one.best();
        println!(
            "  {:26}{:12.2}{:12.2}{:10.1}{:11.1}{:8.2}",
            one.name,
            one.median() * 1e6,
            one.best() * 1e6,
            rate / 1e9,
            100.0 * rate / peak_of(one, peaks),
            one.ratio(&contestants[0])
        );
    }
}

fn best(seconds: &[f64]) -> f64 {
    seconds.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
