//! Activation functions.

use crate::Real;
use crate::planes::{Planes, check_len};
use kernels::Activation;

/// `y = f(x)`, value by value.
pub fn activation<T: Real>(f: Activation, x: &[T]) -> Vec<T> {
    let [zero, three, six] = [0.0, 3.0, 6.0].map(T::from_f64);
    match f {
        Activation::Relu => relu(x),
        Activation::LeakyRelu(slope) => leaky_relu(x, slope.into()),
        Activation::Relu6 => map(x, |x| clamp(x, zero, six)),
        Activation::HardSigmoid => map(x, |x| clamp(x + three, zero, six) / six),
        Activation::HardSwish => map(x, |x| {
            if x >= three { x } else { x.larger(-three) * clamp(x + three, zero, six) / six }
        }),
        Activation::Sigmoid => map(x, sigmoid),
        Activation::Tanh => map(x, T::tanh),
        Activation::Silu => map(x, |x| times(x, sigmoid(x))),
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => map(x, |x| times(x, sigmoid(gelu_exponent(x).0))),
        Activation::Elu(alpha) => {
            map(x, |x| if x > zero { x } else { T::from_f64(alpha.into()) * x.exp_m1() })
        }
        Activation::Softplus(beta) => {
            let beta = T::from_f64(beta.into());
            let rest = |w: T| (if w > zero { -w } else { w }).exp().ln_1p();
            map(x, |x| x.larger(zero) + rest(beta * x) / beta)
        }
    }
}

/// `dx = dy · f′(x)`; at a kink the slope is that of the flatter side.
pub fn activation_backward<T: Real>(f: Activation, x: &[T], dy: &[T]) -> Vec<T> {
    let [zero, half, one, two, three, six] = [0.0, 0.5, 1.0, 2.0, 3.0, 6.0].map(T::from_f64);
    let slope_of_sigmoid = |x: T| sigmoid(x) * sigmoid(-x);
    let between = |x: T, low: T, high: T, inside: T, above: T| {
        if x.is_nan() {
            x
        } else if x <= low {
            zero
        } else {
            if x < high { inside } else { above }
        }
    };
    match f {
        Activation::Relu => relu_backward(x, dy),
        Activation::LeakyRelu(slope) => leaky_relu_backward(x, slope.into(), dy),
        // As in PyTorch, NaN passes.
        Activation::Relu6 => map2(x, dy, |x, dy| if x <= zero || x >= six { zero } else { dy }),
        Activation::HardSigmoid => {
            map2(x, dy, |x, dy| dy * between(x, -three, three, one / six, zero))
        }
        Activation::HardSwish => {
            map2(x, dy, |x, dy| dy * between(x, -three, three, x / three + half, one))
        }
        Activation::Sigmoid => map2(x, dy, |x, dy| dy * slope_of_sigmoid(x)),
        Activation::Tanh => map2(x, dy, |x, dy| dy * T::from_f64(4.0) * slope_of_sigmoid(two * x)),
        Activation::Silu => map2(x, dy, |x, dy| dy * (sigmoid(x) + times(x, slope_of_sigmoid(x)))),
        Activation::Gelu => gelu_backward(x, dy),
        Activation::GeluTanh => map2(x, dy, |x, dy| {
            let (w, slope) = gelu_exponent(x);
            dy * (sigmoid(w) + times(x * slope, slope_of_sigmoid(w)))
        }),
        Activation::Elu(alpha) => {
            map2(
                x,
                dy,
                |x, dy| {
                    if x > zero { dy } else { dy * T::from_f64(alpha.into()) * x.exp() }
                },
            )
        }
        Activation::Softplus(beta) => {
            map2(x, dy, |x, dy| dy * sigmoid(T::from_f64(beta.into()) * x))
        }
    }
}

/// `1 / (1 + exp(−x))`, without an overflow.
fn sigmoid<T: Real>(x: T) -> T {
    let e = (if x > T::ZERO { -x } else { x }).exp();
    (if x > T::ZERO { T::ONE } else { e }) / (T::ONE + e)
}

/// `a · b`, and 0 where `b` is 0, whatever `a` may be.
fn times<T: Real>(a: T, b: T) -> T {
    if b == T::ZERO { b } else { a * b }
}

/// `w = 2 √(2/π) · (x + 0.044715 x³)`, whose sigmoid is `(1 + tanh(w/2)) / 2`, and its slope.
fn gelu_exponent<T: Real>(x: T) -> (T, T) {
    let factor = T::from_f64(2.0 * (2.0 / std::f64::consts::PI).sqrt());
    let square = T::from_f64(0.044715) * x * x;
    (factor * x * (T::ONE + square), factor * (T::ONE + T::from_f64(3.0) * square))
}

/// The nearest value from `low` to `high`; NaN stays NaN.
fn clamp<T: Real>(x: T, low: T, high: T) -> T {
    if x > high { high } else { x.larger(low) }
}

/// `y = x` where `x > 0`, the slope of the channel times `x` elsewhere. `slopes` has one for all channels, or one for
/// each.
pub fn prelu<T: Real>(planes: &Planes, x: &[T], slopes: &[T]) -> Vec<T> {
    planes.check("x", x);
    let slope = |i: usize| slopes[i / planes.pixels() % planes.channels % slopes.len()];
    let value = |(i, x): (usize, &T)| if *x > T::ZERO { *x } else { slope(i) * *x };
    x.iter().enumerate().map(value).collect()
}

/// The gradients of [`prelu`]: of `x`, `dy` where `x > 0` and the slope times `dy` elsewhere; of a slope, the sum of
/// `dy · x` where it was used.
pub fn prelu_backward<T: Real>(
    planes: &Planes,
    x: &[T],
    slopes: &[T],
    dy: &[T],
) -> (Vec<T>, Vec<T>) {
    planes.check("dy", dy);
    let (mut dx, mut dslopes) = (dy.to_vec(), vec![T::ZERO; slopes.len()]);
    for (i, x) in x.iter().enumerate() {
        if *x > T::ZERO {
            continue;
        }
        let channel = i / planes.pixels() % planes.channels % slopes.len();
        dx[i] = slopes[channel] * dy[i];
        dslopes[channel] += dy[i] * *x;
    }
    (dx, dslopes)
}

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
