//! Optimiser steps, each one pass over parameters, gradients and state.
//!
//! The rules are those of `torch.optim`, in its order of operations and under its names for the
//! state (`amsgrad` and `maximize` are absent). A factor of sums and products is fused where the path
//! can.
//!
//! Settings are `f64`; what is made of them, such as 1 − β₂ or a bias correction, is computed in
//! `f64` and rounded once. In `f32` 1 − 0.999 would be wrong from the fifth digit on.
//!
//! Slices may have any length. State starts with zeros, unless said otherwise.

mod adagrad;
mod adam;
mod rms_prop;
mod sgd;

pub use adagrad::{Adagrad, adagrad};
pub use adam::{Adam, AdamState, adam};
pub use rms_prop::{RmsProp, RmsPropState, rms_prop};
pub use sgd::{Sgd, sgd};

use crate::LANES;
use crate::simd::Simd;

/// Below this, what remains of past gradients is zero.
///
/// State that only decays, because its gradients are zero, would become subnormal and stay so, and
/// arithmetic with subnormals is many times slower. What such a remainder moves a parameter by is
/// far below the parameter's last bit.
const TINY: f32 = 1e-30;

/// Below this, the remains of squared gradients are zero: only what is subnormal.
///
/// [`TINY`] would be too much, since it is the root that counts, 1e-15, and a setting of `eps` may be
/// as small. The root of this is 1.1e-19. Nor can a first moment be large beside a second that has
/// vanished: both decay at rates near one, and it is below [`TINY`], and gone, long before.
const TINY_SQUARE: f32 = f32::MIN_POSITIVE;

/// Zero where `v` is smaller in magnitude than `limit`, else `v`; NaN stays NaN.
#[inline(always)]
fn flush<S: Simd>(s: S, limit: S::Vector, v: S::Vector) -> S::Vector {
    let magnitude = s.max(s.sub(s.zero(), v), v);
    s.select(s.gt(limit, magnitude), s.zero(), v)
}

/// A step of a rule, a function of sixteen parameters, their gradients and their `N` kinds of state;
/// it changes the state and returns the new parameters. It must be `#[inline(always)]`. All slices
/// are of one length.
#[inline(always)]
fn pass<S: Simd, const N: usize>(
    s: S,
    params: &mut [f32],
    gradients: &[f32],
    state: [&mut [f32]; N],
    rule: impl Fn(S::Vector, S::Vector, &mut [S::Vector; N]) -> S::Vector,
) {
    let (vectors, tail) = params.as_chunks_mut::<LANES>();
    let (gradients, gradients_tail) = gradients.as_chunks::<LANES>();
    for (i, (p, g)) in vectors.iter_mut().zip(gradients).enumerate() {
        let mut kept = [s.zero(); N];
        for k in 0..N {
            kept[k] = s.load(&state[k].as_chunks().0[i]);
        }
        s.store(p, rule(s.load(p), s.load(g), &mut kept));
        for k in 0..N {
            s.store(&mut state[k].as_chunks_mut().0[i], kept[k]);
        }
    }
    if !tail.is_empty() {
        let mut kept = [s.zero(); N];
        for k in 0..N {
            kept[k] = s.load_partial(state[k].as_chunks::<LANES>().1);
        }
        let p = rule(s.load_partial(tail), s.load_partial(gradients_tail), &mut kept);
        s.store_partial(tail, p);
        for k in 0..N {
            s.store_partial(state[k].as_chunks_mut::<LANES>().1, kept[k]);
        }
    }
}
