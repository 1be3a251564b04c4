//! No safe call touches what it was not given, whatever it is given: every public function that takes slices, on every
//! path, with shapes and lengths by chance, extremes included. Each slice ends where a page begins that may not be
//! touched, or begins where one ends, so that a stray load or store kills the test.
//!
//! A call may refuse its arguments by a panic; of each function enough calls must be done.
#![cfg(unix)]

mod buffers;
mod calls;
mod chance;
mod channels;
mod products;

use buffers::{Buffers, Flush};
use chance::Chance;
use kernels::Isa;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

/// What runs a function once: shapes by chance, memory from the buffers.
type Call = fn(&mut Chance, &Buffers, Isa);

/// Shapes for each function; more by `BOBBIN_GUARDED_ROUNDS`.
const ROUNDS: u64 = 250;

fn rounds() -> u64 {
    let more = std::env::var("BOBBIN_GUARDED_ROUNDS");
    more.map_or(ROUNDS, |more| more.parse().expect("a number of rounds"))
}

#[test]
fn nothing_beyond_a_slice_is_touched() {
    // Refusals are what is expected of many calls: nobody wants to read them.
    panic::set_hook(Box::new(|_| {}));
    let mut buffers = Buffers::new();
    let mut idle = vec![];
    for (name, call) in calls::ALL.iter().chain(products::ALL).chain(channels::ALL) {
        let mut done = 0;
        for seed in 0..rounds() {
            for isa in Isa::available() {
                for flush in [Flush::End, Flush::Start] {
                    buffers.rewind(flush);
                    let run = || call(&mut Chance::new(seed), &buffers, isa);
                    done += usize::from(catch_unwind(AssertUnwindSafe(run)).is_ok());
                }
            }
        }
        let tried = rounds() as usize * 2 * Isa::available().len();
        println!("{name}: {done} of {tried} done");
        if done < tried / 20 {
            idle.push(format!("{name}: {done} of {tried} done"));
        }
    }
    let _ = panic::take_hook();
    assert!(idle.is_empty(), "refused too often: {idle:?}");
}

/// The guards are there: a process that touches one is killed.
#[test]
fn a_guard_kills() {
    const CHILD: &str = "BOBBIN_TEST_GUARD";
    if std::env::var_os(CHILD).is_some() {
        let mut buffers = Buffers::new();
        buffers.rewind(Flush::End);
        let slice = buffers.filled::<f32>(5, 1.0);
        // SAFETY: none; this is the fault that is to be seen.
        let beyond = unsafe { slice.as_ptr().add(5).read_volatile() };
        println!("read {beyond}");
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
    let status =
        child.args(["--exact", "a_guard_kills"]).env(CHILD, "1").output().expect("a child");
    let signal = std::os::unix::process::ExitStatusExt::signal(&status.status);
    // AddressSanitizer tells of it and exits.
    let told = String::from_utf8_lossy(&status.stderr).contains("AddressSanitizer");
    assert!(signal == Some(libc::SIGSEGV) || told, "{status:?}");
}
