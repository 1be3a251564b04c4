//! Sums, products and dropout.

use crate::Real;
use crate::planes::check_len;

/// `y = a + b`, element by element.
pub fn add<T: Real>(a: &[T], b: &[T]) -> Vec<T> {
    check_len("b", b, a.len());
    a.iter().zip(b).map(|(a, b)| *a + *b).collect()
}

/// `(da, db) = (dy, dy)`.
pub fn add_backward<T: Real>(dy: &[T]) -> (Vec<T>, Vec<T>) {
    (dy.to_vec(), dy.to_vec())
}

/// `y = a · b`, element by element.
pub fn mul<T: Real>(a: &[T], b: &[T]) -> Vec<T> {
    check_len("b", b, a.len());
    a.iter().zip(b).map(|(a, b)| *a * *b).collect()
}

/// `(da, db) = (dy · b, dy · a)`.
pub fn mul_backward<T: Real>(a: &[T], b: &[T], dy: &[T]) -> (Vec<T>, Vec<T>) {
    (mul(dy, b), mul(dy, a))
}

/// `y = Σ x`, from first to last.
pub fn sum<T: Real>(x: &[T]) -> T {
    x.iter().fold(T::ZERO, |sum, x| sum + *x)
}

/// `dx = dy` for each of `len` elements.
pub fn sum_backward<T: Real>(len: usize, dy: T) -> Vec<T> {
    vec![dy; len]
}

/// `y = Σ x / len`.
pub fn mean<T: Real>(x: &[T]) -> T {
    sum(x) / T::from_usize(x.len())
}

/// `dx = dy / len` for each of `len` elements.
pub fn mean_backward<T: Real>(len: usize, dy: T) -> Vec<T> {
    vec![dy / T::from_usize(len); len]
}

/// `y = x / (1 − rate)` where `keep`, `0 · x` elsewhere (so a NaN or an infinity is noticed even
/// where it is dropped, as in PyTorch). `rate` is the probability with which `keep` was made false.
pub fn dropout<T: Real>(x: &[T], keep: &[bool], rate: f64) -> Vec<T> {
    check_len("keep", keep, x.len());
    let scale = |keep: bool| T::from_f64(if keep { 1.0 / (1.0 - rate) } else { 0.0 });
    x.iter().zip(keep).map(|(x, keep)| *x * scale(*keep)).collect()
}

/// `dx = dy / (1 − rate)` where `keep`, `0 · dy` elsewhere: dropout with a given mask is linear and
/// its own adjoint.
pub fn dropout_backward<T: Real>(keep: &[bool], rate: f64, dy: &[T]) -> Vec<T> {
    dropout(dy, keep, rate)
}
