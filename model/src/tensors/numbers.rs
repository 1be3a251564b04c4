//! The types of numbers in files, made into `f32`.

use safetensors::Dtype;

pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16)
}

pub(super) fn is_integer(dtype: Dtype) -> bool {
    use Dtype::{I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}

/// Numbers of one of the types that [`TensorFile::difference`](super::TensorFile) lets through; rounded to the nearest
/// where they have more digits.
pub(super) fn convert(bytes: &[u8], dtype: Dtype, values: &mut [f32]) {
    fn each<const N: usize>(bytes: &[u8], values: &mut [f32], read: impl Fn([u8; N]) -> f32) {
        values.iter_mut().zip(bytes.as_chunks().0).for_each(|(v, bytes)| *v = read(*bytes));
    }
    match dtype {
        Dtype::F64 => each(bytes, values, |b| f64::from_le_bytes(b) as f32),
        Dtype::F16 => each(bytes, values, |b| half(u16::from_le_bytes(b))),
        Dtype::BF16 => {
            each(bytes, values, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16));
        }
        Dtype::I64 => each(bytes, values, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => each(bytes, values, |b| i32::from_le_bytes(b) as f32),
        Dtype::I16 => each(bytes, values, |b| i16::from_le_bytes(b).into()),
        Dtype::I8 => each(bytes, values, |b| i8::from_le_bytes(b).into()),
        Dtype::U64 => each(bytes, values, |b| u64::from_le_bytes(b) as f32),
        Dtype::U32 => each(bytes, values, |b| u32::from_le_bytes(b) as f32),
        Dtype::U16 => each(bytes, values, |b| u16::from_le_bytes(b).into()),
        Dtype::U8 => each(bytes, values, |b| u8::from_le_bytes(b).into()),
        _ => each(bytes, values, f32::from_le_bytes),
    }
}

/// An IEEE 754 number of 16 bits: sign, five bits of exponent, ten of fraction.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (bits >> 10 & 31, u32::from(bits & 1023));
    let magnitude = match exponent {
        // Multiples of 2⁻²⁴.
        0 => fraction as f32 / 16_777_216.0,
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        _ => f32::from_bits((u32::from(exponent) + 112) << 23 | fraction << 13),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition, ±(1 + fraction/1024)·2^(exponent − 15), in `f64`.
    #[test]
    fn every_half() {
        for bits in 0..=u16::MAX {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let expected = match exponent {
                0 => fraction * 2f64.powi(-24),
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
            };
            let (found, expected) = (half(bits), expected.copysign(0.5 - f64::from(bits >> 15)));
            assert!(found.is_nan() && expected.is_nan() || f64::from(found) == expected, "{bits}");
            assert_eq!(found.is_sign_negative(), bits >> 15 == 1, "{bits}");
        }
    }
}
