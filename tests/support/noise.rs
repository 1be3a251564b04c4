//! Numbers that a formula gives, the same here and in the scripts that write what PyTorch makes of them
//! (`tests/fixtures/`).

/// A multiple of 2⁻²³ in [−1, 1): the finaliser of splitmix64.
pub fn noise(stream: u64, i: u64) -> f64 {
    let z = ((stream << 32) + i).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0
}
