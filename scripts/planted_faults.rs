//! One sound tile, and a tile or transform for each fault that `scripts/check-assembly` must find: compiled by its
//! self-test as a crate called `kernels`, never run.

use simd::avx512::Avx512;
use std::arch::x86_64::*;
use std::hint::black_box;

mod simd {
    pub mod avx512 {
        pub struct Avx512;

        impl Avx512 {
            #[inline(never)]
            #[target_feature(enable = "avx512f,fma")]
            pub fn trampoline<R>(f: impl FnOnce() -> R) -> R {
                f()
            }
        }
    }
}

type Sums<const M: usize, const N: usize> = [[__m512; N]; M];

/// What a tile does, unless a fault is planted.
trait Plan {
    #[inline(always)]
    unsafe fn step<const M: usize, const N: usize>(x: &[f32], sums: &mut Sums<M, N>) {
        // SAFETY: the caller's promise.
        unsafe { multiply_add(x, sums, 0..M) }
    }

    #[inline(always)]
    fn end(_x: &[f32]) {}
}

struct Sound;
impl Plan for Sound {}

/// Forty-eight accumulators do not fit into thirty-two registers.
struct Spilling;
impl Plan for Spilling {}

/// Accumulators that are chosen as the loop runs live in memory.
struct Indexing;
impl Plan for Indexing {
    #[inline(always)]
    unsafe fn step<const M: usize, const N: usize>(x: &[f32], sums: &mut Sums<M, N>) {
        // SAFETY: the caller's promise.
        unsafe { multiply_add(x, sums, (0..M).map(black_box)) }
    }
}

/// Half of the rows are left out.
struct Idling;
impl Plan for Idling {
    #[inline(always)]
    unsafe fn step<const M: usize, const N: usize>(x: &[f32], sums: &mut Sums<M, N>) {
        // SAFETY: the caller's promise.
        unsafe { multiply_add(x, sums, 0..M / 2) }
    }
}

struct Calling;
impl Plan for Calling {
    #[inline(always)]
    unsafe fn step<const M: usize, const N: usize>(x: &[f32], sums: &mut Sums<M, N>) {
        // SAFETY: the caller's promise.
        unsafe { multiply_add(x, sums, 0..M) }
        std::thread::yield_now();
    }
}

/// What is not inlined has not the features of the path: its intrinsics are calls.
struct Outlining;
impl Plan for Outlining {
    #[inline(always)]
    fn end(x: &[f32]) {
        outlined(x);
    }
}

/// One step of the sums of some rows.
#[inline(always)]
unsafe fn multiply_add<const M: usize, const N: usize>(
    x: &[f32],
    sums: &mut Sums<M, N>,
    rows: impl Iterator<Item = usize>,
) {
    // SAFETY: the caller's promise: AVX-512, and as many floats as are loaded.
    unsafe {
        let mut v = [_mm512_setzero_ps(); N];
        for n in 0..N {
            v[n] = _mm512_loadu_ps(x.as_ptr().add(16 * n));
        }
        for m in rows {
            let w = _mm512_set1_ps(*x.as_ptr().add(m));
            for n in 0..N {
                sums[m][n] = _mm512_fmadd_ps(w, v[n], sums[m][n]);
            }
        }
    }
}

#[inline(never)]
fn outlined(x: &[f32]) {
    // SAFETY: never run: only the assembly is looked at.
    unsafe { black_box(_mm512_sqrt_ps(_mm512_loadu_ps(x.as_ptr()))) };
}

struct Planted;

impl Planted {
    #[inline(always)]
    fn tile<S, P: Plan, const M: usize, const N: usize>(x: &[f32]) {
        // SAFETY: never run: only the assembly is looked at.
        unsafe {
            Avx512::trampoline(
                #[inline(always)]
                || {
                    let mut sums = [[_mm512_setzero_ps(); N]; M];
                    for x in x.chunks_exact(256) {
                        P::step(x, &mut sums);
                    }
                    black_box(sums);
                    P::end(x);
                },
            )
        }
    }
}

mod transform {
    use super::*;

    /// Forty sums do not fit into thirty-two registers.
    #[inline(always)]
    pub fn spilling<S>(x: &[f32], to: &mut [f32; 640]) {
        // SAFETY: never run: only the assembly is looked at.
        unsafe {
            Avx512::trampoline(
                #[inline(always)]
                || {
                    let mut sums = [_mm512_setzero_ps(); 40];
                    for x in x.chunks_exact(640) {
                        for i in 0..40 {
                            let v = _mm512_loadu_ps(x.as_ptr().add(16 * i));
                            sums[i] = _mm512_add_ps(sums[i], v);
                        }
                    }
                    for i in 0..40 {
                        _mm512_storeu_ps(to.as_mut_ptr().add(16 * i), sums[i]);
                    }
                },
            )
        }
    }
}

fn main() {
    let x = black_box(vec![0.0; 1024]);
    Planted::tile::<Avx512, Sound, 4, 6>(&x);
    Planted::tile::<Avx512, Spilling, 8, 6>(&x);
    Planted::tile::<Avx512, Indexing, 4, 6>(&x);
    Planted::tile::<Avx512, Idling, 4, 6>(&x);
    Planted::tile::<Avx512, Calling, 4, 6>(&x);
    Planted::tile::<Avx512, Outlining, 4, 6>(&x);
    transform::spilling::<Avx512>(&x, &mut [0.0; 640]);
}
