//! scratch version
mod measure;
use kernels::{Gemm, Isa, Matrix};
use measure::{Contestant, compare};

type Sgemm = unsafe extern "C" fn(i32, i32, i32, i32, i32, i32, f32, *const f32, i32, *const f32, i32, f32, *mut f32, i32);
unsafe extern "C" { fn dlopen(n: *const i8, f: i32) -> *mut (); fn dlsym(h: *mut (), n: *const i8) -> *mut (); }

fn main() {
    let mkl: Sgemm = unsafe {
        std::env::set_var("MKL_THREADING_LAYER", "SEQUENTIAL");
        let h = dlopen(c"/tmp/mklenv/lib/libmkl_rt.so.3".as_ptr(), 2);
        std::mem::transmute(dlsym(h, c"cblas_sgemm".as_ptr()))
    };
    let isa = Isa::from_env().unwrap();
    let only = std::env::var("SIZES").unwrap_or_default();
    let on = |v: &str| std::env::var(v).is_ok();
    let (ta, tb) = (on("TA"), on("TB"));
    let list: Vec<(usize,usize,usize)> = if let Ok(l) = std::env::var("LIST") { l.split(',').map(|w| { let v: Vec<usize> = w.split('x').map(|x| x.parse().unwrap()).collect(); (v[0], v[1], v[2]) }).collect() } else { vec![
        (8, 8, 8), (16,16,16), (32, 32, 32), (48,48,48),
        (6, 576, 25), (16, 64, 150), (120, 64, 256), (84, 64, 120), (10, 64, 84),
        (64, 784, 576), (128, 196, 1152), (256, 49, 2304),
        (64, 64, 64), (128, 128, 128), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024),
    ] };
    for (m, n, k) in list {
        let (lda, ldb) = (if ta { m } else { k }, if tb { k } else { n });
        let (ars, acs) = if ta { (1, m as isize) } else { (k as isize, 1) };
        let (brs, bcs) = if tb { (1, k as isize) } else { (n as isize, 1) };
        let op = |t: bool| if t { 112 } else { 111 };
        let name = format!("{m}x{n}x{k}");
        if !only.is_empty() && !only.split(',').any(|o| o == name) { continue; }
        let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..n * k).map(|i| (i % 5) as f32 - 2.0).collect();
        let (mut c0, mut c1, mut c2, mut c3) = (vec![0f32; m * n], vec![0f32; m * n], vec![0f32; m * n], vec![0f32; m*n]);
        let g = Gemm { m, n, k, alpha: 1.0, beta: 0.0 };
        compare(isa, &name, 2 * m * n * k, vec![
            Contestant::new("bobbin", || kernels::gemm(isa, g, Matrix { data: &a, stride: lda, transposed: ta }, Matrix { data: &b, stride: ldb, transposed: tb }, kernels::MatrixMut::new(&mut c0, n))),
            Contestant::new("matrixmultiply", || unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a.as_ptr(), ars, acs, b.as_ptr(), brs, bcs, 0.0, c1.as_mut_ptr(), n as isize, 1) }),
            Contestant::new("gemm", || unsafe { gemm_crate::gemm(m, n, k, c2.as_mut_ptr(), 1, n as isize, false, a.as_ptr(), acs, ars, b.as_ptr(), bcs, brs, 0f32, 1f32, false, false, false, gemm_crate::Parallelism::None) }),
            Contestant::new("mkl", || unsafe { mkl(101, op(ta), op(tb), m as i32, n as i32, k as i32, 1.0, a.as_ptr(), lda as i32, b.as_ptr(), ldb as i32, 0.0, c3.as_mut_ptr(), n as i32) }),
        ]);
        let d = |x: &[f32]| x.iter().zip(&c0).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(d(&c1) == 0.0 && d(&c2) == 0.0, "{} {}", d(&c1), d(&c2));
    }
}
