//! What it costs the ranks of an MPI job to have the sum of their gradients: the exchanges alone, without
//! waiting for a rank that computes. Run by `scripts/measure-scaling`; by hand:
//!
//! ```text
//! cargo bench --features mpi --bench ranks --no-run, then: mpirun -n 2 target/release/deps/ranks-…
//! ```
//! Prints a JSON object per network: microseconds of an exchange whole and in slices, the median of
//! many, with one root of the tree per rank.

use model::{Network, PRESETS, preset};
use std::hint::black_box;
use std::time::Instant;
use trainer::ranks::{Communicator, Mpi};

fn main() {
    let mpi = Mpi::start(Default::default(), |problem| eprintln!("error: {problem}"))
        .expect("an MPI job");
    for (name, _) in PRESETS {
        let layers = preset(name, 10).expect("a preset");
        let len = Network::new([1, 28, 28], &layers).expect("it fits").len();
        let repeats = (20_000_000 / len).clamp(9, 301);
        let whole = median(repeats, &mpi, whole(&mpi, 4 * len));
        let sliced = median(repeats, &mpi, sliced(&mpi, 4 * len));
        if mpi.rank() == 0 {
            println!(
                "{{\"network\": \"{name}\", \"floats\": {len}, \"ranks\": {}, \"whole\": {whole:.1}, \
                 \"sliced\": {sliced:.1}}}",
                mpi.size()
            );
        }
    }
    mpi.finish();
}

/// All ranks have the gradients of all.
fn whole(mpi: &Mpi, bytes: usize) -> impl FnMut() {
    let counts = vec![bytes; mpi.size()];
    let (own, mut all) = (vec![1; bytes], vec![0; bytes * mpi.size()]);
    move || mpi.all_gather(&own, &counts, black_box(&mut all))
}

/// Each has a slice of all, and then all have its sum.
fn sliced(mpi: &Mpi, bytes: usize) -> impl FnMut() {
    let size = mpi.size();
    let slices: Vec<usize> =
        (0..size).map(|rank| bytes * (rank + 1) / size - bytes * rank / size).collect();
    let slice = slices[mpi.rank()];
    let (own, mut all) = (vec![1; bytes], vec![0; bytes]);
    let mut roots = vec![0; slice * size];
    move || {
        mpi.all_to_all(&own, &slices, &mut roots, &vec![slice; size]);
        mpi.all_gather(&roots[..slice], &slices, black_box(&mut all));
    }
}

/// Microseconds, from a moment when all ranks are there.
fn median(repeats: usize, mpi: &Mpi, mut exchange: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..repeats)
        .map(|_| {
            mpi.all_gather(&[0], &vec![1; mpi.size()], &mut vec![0; mpi.size()]);
            let started = Instant::now();
            exchange();
            1e6 * started.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[repeats / 2]
}
