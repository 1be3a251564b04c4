//! Operands of products in bfloat16.

/// The nearest number of eight binary digits, of two as near the one whose last digit is zero; zero where that is
/// below 2⁻⁵⁰ in magnitude, and infinite where it is 2¹²⁸ or above. A product in bfloat16 is that of operands rounded
/// like this.
pub fn bfloat16(x: f32) -> f32 {
    if x == 0.0 || !x.is_finite() {
        return if x == 0.0 { 0.0 } else { x };
    }
    let x = f64::from(x);
    // 2ᵉ ≤ |x| < 2ᵉ⁺¹: exact, as every f32 is a normal f64.
    let exponent = (x.abs().to_bits() >> 52) as i32 - 1023;
    let step = 2f64.powi(exponent - 7);
    let rounded = (x / step).round_ties_even() * step;
    if rounded.abs() < 2f64.powi(-50) { 0.0 } else { rounded as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples() {
        // 1 + n/128 between 1 and 2.
        assert_eq!(bfloat16(1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
        assert_eq!(bfloat16(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(bfloat16(-1.0 - 3.1 / 512.0), -1.0 - 1.0 / 128.0);
        assert_eq!(bfloat16(255.5), 256.0);
        assert_eq!(bfloat16(257.0), 256.0);
        assert_eq!(bfloat16(f32::MAX), f32::INFINITY);
        assert_eq!(bfloat16(2f32.powi(-50)), 2f32.powi(-50));
        assert_eq!(bfloat16(2f32.powi(-51)).to_bits(), 0);
        assert_eq!(bfloat16(f32::from_bits(1)).to_bits(), 0);
        assert!(bfloat16(f32::NAN).is_nan() && bfloat16(-f32::INFINITY) == -f32::INFINITY);
    }
}
