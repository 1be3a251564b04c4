//! Contestants on the same work, measured in alternation and against the FMA peak.

use kernels::{Isa, fma_chains};
use std::time::{Duration, Instant};
fn cpu()->f64{let mut t=[0i64;2];unsafe{clock_gettime(3,t.as_mut_ptr());}t[0] as f64+t[1] as f64*1e-9}
unsafe extern "C"{fn clock_gettime(c:i32,t:*mut i64)->i32;}

/// One way of doing the work.
pub struct Contestant<'a> {
    name: &'a str,
    run: Box<dyn FnMut() + 'a>,
    /// Calls to a slice of time, chosen so that the clock's own cost is lost in it.
    calls: usize,
    /// Seconds per call, one entry a round.
    seconds: Vec<f64>,
}

impl<'a> Contestant<'a> {
    pub fn new(name: &'a str, run: impl FnMut() + 'a) -> Contestant<'a> {
        Contestant { name, run: Box::new(run), calls: 1, seconds: Vec::new() }
    }

    fn slice(&mut self) -> f64 {
        let start = cpu();
        for _ in 0..self.calls {
            (self.run)();
        }
        (cpu() - start) / self.calls as f64
    }

    fn best(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

const SLICE: Duration = Duration::from_micros(300);
const BUDGET: Duration = Duration::from_millis(1500);

pub fn compare(isa: Isa, work: &str, flops: usize, mut contestants: Vec<Contestant<'_>>) {
    for one in &mut contestants {
        one.slice();
        one.calls = (SLICE.as_secs_f64() / one.slice()).ceil().max(1.0) as usize;
    }
    let mut peak: f64 = 0.0;
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < 15 || start.elapsed() < BUDGET {
        let t = cpu();
        let n = fma_chains(isa, 20000);
        peak = peak.max(n as f64 / (cpu() - t));
        for one in &mut contestants {
            let seconds = one.slice();
            one.seconds.push(seconds);
        }
        rounds += 1;
    }
    println!("{work}  ({rounds} rounds, peak {:.1})", peak / 1e9);
    let ours = contestants[0].best();
    let oursm = contestants[0].median();
    for one in &contestants {
        println!(
            "  {:16} median {:10.2} us  best {:10.2} us  {:6.1} GFLOP/s {:5.1} %  x{:.2} x{:.2}",
            one.name,
            one.median() * 1e6,
            one.best() * 1e6,
            flops as f64 / one.best() / 1e9,
            100.0 * flops as f64 / one.best() / peak,
            one.best() / ours, one.median() / oursm
        );
    }
}
