//! The matrix product beside the crates `matrixmultiply` and `gemm`, one thread.
//!
//! Criterion follows Bobbin's own time from run to run; the table under each of its entries compares
//! the contestants within the run. `gemm` comes with AVX2 kernels; the feature `gemm-avx512` of this
//! package turns its AVX-512 kernels on.

mod measure;

use criterion::{Criterion, criterion_group, criterion_main};
use kernels::{Gemm, Isa, Matrix, MatrixMut};
use measure::{Contestant, Peak, compare, measuring};
use std::time::Duration;

/// Rows, columns and length of the sums.
const SIZES: [[usize; 3]; 16] = [
    // LeNet: both convolutions of one image, the three linear layers of 64.
    [6, 576, 25],
    [16, 64, 150],
    [120, 64, 256],
    [84, 64, 120],
    [10, 64, 84],
    // VGG: one convolution of each resolution, one image.
    [64, 784, 576],
    [128, 196, 1152],
    [256, 49, 2304],
    // Squares.
    [8, 8, 8],
    [16, 16, 16],
    [32, 32, 32],
    [64, 64, 64],
    [128, 128, 128],
    [256, 256, 256],
    [512, 512, 512],
    [1024, 1024, 1024],
];

fn sizes(criterion: &mut Criterion) {
    let isa = Isa::from_env().expect("the variable names a path");
    let mut group = criterion.benchmark_group("gemm");
    group.sample_size(20).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    for [m, n, k] in SIZES {
        let name = format!("{m}x{n}x{k}");
        let (a, b) = (small_integers(m * k, 7), small_integers(k * n, 5));
        let mut c = vec![0.0; m * n];
        let mut bobbin = || {
            let c = MatrixMut::new(&mut c, n);
            kernels::gemm(isa, Gemm::new(m, n, k), Matrix::new(&a, k), Matrix::new(&b, n), c);
        };
        let mut selected = false;
        group.bench_function(&name, |bencher| {
            selected = true;
            bencher.iter(&mut bobbin);
        });
        if !selected {
            continue;
        }
        let (mut c_mm, mut c_gemm) = (vec![0.0; m * n], vec![0.0; m * n]);
        let mut matrixmultiply = || matrixmultiply_product([m, n, k], &a, &b, &mut c_mm);
        let mut gemm = || gemm_product([m, n, k], &a, &b, &mut c_gemm);
        if measuring() {
            let contestants = vec![
                Contestant::new(format!("bobbin ({isa})"), bobbin),
                Contestant::new("matrixmultiply", matrixmultiply),
                Contestant::new(GEMM_NAME, gemm),
            ];
            compare(Peak::of_a_core(isa), &name, 2 * m * n * k, contestants);
        } else {
            matrixmultiply();
            gemm();
        }
        // Sums of small integers are exact, in any order.
        assert!(c == c_mm && c == c_gemm, "{name}: the contestants disagree");
    }
}

const GEMM_NAME: &str = if cfg!(feature = "gemm-avx512") { "gemm (AVX-512)" } else { "gemm" };

fn small_integers(len: usize, below: usize) -> Vec<f32> {
    (0..len).map(|i| (i * i % below) as f32 - 2.0).collect()
}

#[rustfmt::skip]
fn matrixmultiply_product([m, n, k]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    let (row_a, row_b) = (k as isize, n as isize);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    // SAFETY: the slices are dense matrices of these sizes.
    unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a, row_a, 1, b, row_b, 1, 0.0, c, row_b, 1) }
}

#[rustfmt::skip]
fn gemm_product([m, n, k]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    let (row_a, row_b) = (k as isize, n as isize);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    let one_thread = gemm_crate::Parallelism::None;
    // SAFETY: the slices are dense matrices of these sizes.
    unsafe {
        gemm_crate::gemm(
            m, n, k, c, 1, row_b, false, a, 1, row_a, b, 1, row_b,
            0.0, 1.0, false, false, false, one_thread,
        );
    }
}

criterion_group!(benches, sizes);
criterion_main!(benches);
