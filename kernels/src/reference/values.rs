//! Reproducible inputs for tests.

use super::Real;

/// SplitMix64 (Steele, Lea, Flood 2014): the state advances by the golden ratio, the output is the
/// state with its bits mixed.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// `len` values in [−1, 1) that depend on the seed alone; in `f32` they are those of `f64` rounded.
pub fn uniform<T: Real>(len: usize, seed: u64) -> Vec<T> {
    let mut random = SplitMix64(seed);
    (0..len).map(|_| T::from_f64(2.0 * random.unit() - 1.0)).collect()
}

/// `len` values in random order, any two of them at least `gap` apart and each at least `gap / 2`
/// from zero: away from the kinks of ReLU and max-pooling, for steps shorter than `gap / 2`.
///
/// They are the odd multiples of `gap / 2` nearest to zero.
pub fn separated<T: Real>(len: usize, gap: f64, seed: u64) -> Vec<T> {
    let mut random = SplitMix64(seed);
    let place = |i: usize| T::from_f64((i as f64 + 0.5 - (len / 2) as f64) * gap);
    let mut values: Vec<T> = (0..len).map(place).collect();
    for i in (1..len).rev() {
        values.swap(i, (random.next() % (i as u64 + 1)) as usize);
    }
    values
}
