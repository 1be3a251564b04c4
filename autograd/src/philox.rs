//! Counter-based random numbers.

/// Philox 4×32-10: four random words from a counter, with no state between calls.
///
/// A random choice is a function of what it is for and of where it falls (epoch, image, layer,
/// element), never of the thread that makes it or of what was drawn before.
///
/// Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
/// SC 2011.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

/// What random numbers are for; each has a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Initial weights.
    Initialisation = 1,
    /// The order of the images of an epoch.
    Shuffle = 2,
    /// Dropout masks.
    Dropout = 3,
    /// The images held out for validation.
    Split = 4,
    /// Shifts, flips and erasures.
    Augmentation = 5,
    /// The slopes that a gradient check looks at.
    GradientCheck = 6,
    /// How much of which image is mixed into another.
    Mixing = 7,
}

impl Philox {
    /// The generator of a seed and a purpose.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose) -> Philox {
        let seeded = Philox { key: [seed as u32, (seed >> 32) as u32] };
        let [a, b, ..] = seeded.words([purpose as u32, 0, 0, 0]);
        Philox { key: [a, b] }
    }

    /// The four words at a counter.
    #[must_use]
    pub fn words(&self, counter: [u32; 4]) -> [u32; 4] {
        const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
        const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
        let ([mut a, mut b, mut c, mut d], [mut k, mut l]) = (counter, self.key);
        for _ in 0..10 {
            let p = u64::from(a) * u64::from(MULTIPLIERS[0]);
            let q = u64::from(c) * u64::from(MULTIPLIERS[1]);
            [a, b, c, d] = [(q >> 32) as u32 ^ b ^ k, q as u32, (p >> 32) as u32 ^ d ^ l, p as u32];
            k = k.wrapping_add(WEYL[0]);
            l = l.wrapping_add(WEYL[1]);
        }
        [a, b, c, d]
    }
}

/// A random word as a number in [0, 1), a multiple of 2⁻²⁴.
#[must_use]
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 / (1 << 24) as f32
}

/// A random word as an integer below `n`, by multiplication: biased by less than `n` · 2⁻³².
#[must_use]
pub fn below(word: u32, n: u32) -> u32 {
    ((u64::from(word) * u64::from(n)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with Random123.
    #[test]
    fn known_answers() {
        let zero = Philox { key: [0, 0] };
        assert_eq!(zero.words([0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = Philox { key: [u32::MAX; 2] };
        assert_eq!(ones.words([u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = Philox { key: [0xa409_3822, 0x299f_31d0] };
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(pi.words(counter), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }
}
