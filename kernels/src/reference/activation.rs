//! ReLU, leaky ReLU, GELU.

use super::Real;
use super::planes::check_len;

fn map<T: Real>(x: &[T], f: impl Fn(T) -> T) -> Vec<T> {
    x.iter().map(|x| f(*x)).collect()
}

fn map2<T: Real>(x: &[T], dy: &[T], f: impl Fn(T, T) -> T) -> Vec<T> {
    check_len("dy", dy, x.len());
    x.iter().zip(dy).map(|(x, dy)| f(*x, *dy)).collect()
}

/// `y = max(x, 0)`; NaN stays NaN.
pub fn relu<T: Real>(x: &[T]) -> Vec<T> {
    map(x, |x| x.larger(T::ZERO))
}

/// `dx = 0` where `x ≤ 0`, `dy` elsewhere (where `x` is NaN too).
pub fn relu_backward<T: Real>(x: &[T], dy: &[T]) -> Vec<T> {
    map2(x, dy, |x, dy| if x <= T::ZERO { T::ZERO } else { dy })
}

/// `y = x` where `x > 0`, `slope · x` elsewhere.
pub fn leaky_relu<T: Real>(x: &[T], slope: f64) -> Vec<T> {
    map(x, |x| if x > T::ZERO { x } else { T::from_f64(slope) * x })
}

/// `dx = dy` where `x > 0`, `slope · dy` elsewhere.
pub fn leaky_relu_backward<T: Real>(x: &[T], slope: f64, dy: &[T]) -> Vec<T> {
    map2(x, dy, |x, dy| if x > T::ZERO { dy } else { T::from_f64(slope) * dy })
}

/// `y = x · Φ(x)`, where `Φ(x) = (1 + erf(x / √2)) / 2` is the normal distribution (PyTorch's
/// default, not the approximation by tanh).
pub fn gelu<T: Real>(x: &[T]) -> Vec<T> {
    map(x, |x| x * normal_distribution(x))
}

/// `dx = dy · (Φ(x) + x · φ(x))`, where `φ(x) = exp(−x²/2) / √(2π)` is the normal density.
pub fn gelu_backward<T: Real>(x: &[T], dy: &[T]) -> Vec<T> {
    map2(x, dy, |x, dy| dy * (normal_distribution(x) + x * normal_density(x)))
}

fn normal_distribution<T: Real>(x: T) -> T {
    T::from_f64(0.5) * (T::ONE + (x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

fn normal_density<T: Real>(x: T) -> T {
    let root = T::from_f64((2.0 * std::f64::consts::PI).sqrt());
    (T::from_f64(-0.5) * x * x).exp() / root
}
