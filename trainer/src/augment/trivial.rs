//! One change of fourteen, as strong as one of thirty-one steps says.
//!
//! Source: S. Müller and F. Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", ICCV 2021,
//! in its wide space. Images are moved by a third of their side at most, as 32 pixels are all there is of small ones.

use super::colour::{self, ONE};
use super::warp::{Affine, Canvas, warp};
use crate::recipe::Fill;
use autograd::below;

/// Steps of strength: 0, which changes nothing, to 30.
const STEPS: u32 = 31;

/// Shears, factors of colours less one, and degrees of the strongest step.
const SHEAR: f64 = 0.99;
const FACTOR: u64 = (ONE as u64 * 99) / 100;
const DEGREES: f64 = 135.0;

/// The changes; those of colours and of place are in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Identity,
    ShearRows,
    ShearColumns,
    MoveAlongRows,
    MoveAlongColumns,
    Rotate,
    Brightness,
    Saturation,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

const CHANGES: [Change; 14] = [
    Change::Identity,
    Change::ShearRows,
    Change::ShearColumns,
    Change::MoveAlongRows,
    Change::MoveAlongColumns,
    Change::Rotate,
    Change::Brightness,
    Change::Saturation,
    Change::Contrast,
    Change::Sharpness,
    Change::Posterize,
    Change::Solarize,
    Change::AutoContrast,
    Change::Equalize,
];

/// Changes an image as three random words say; `room` is as large.
pub(super) fn change(
    image: &mut [u8],
    room: &mut [u8],
    shape: [usize; 3],
    (fill, mean): (Fill, &[u8]),
    [change, step, sign, _]: [u32; 4],
) {
    let change = CHANGES[below(change, CHANGES.len() as u32) as usize];
    let (step, back) = (below(step, STEPS), sign >> 31 == 1);
    let part = f64::from(step) / f64::from(STEPS - 1);
    let signed = |most: f64| if back { -most * part } else { most * part };
    let [channels, rows, columns] = shape;
    let third = |side: usize| libm::floor(signed(side as f64 / 3.0));
    let affine = match change {
        Change::ShearRows => Some(Affine::shear(signed(SHEAR), 0.0, shape)),
        Change::ShearColumns => Some(Affine::shear(0.0, signed(SHEAR), shape)),
        Change::MoveAlongRows => Some(Affine::shift(third(columns), 0.0)),
        Change::MoveAlongColumns => Some(Affine::shift(0.0, third(rows))),
        Change::Rotate => Some(Affine::rotation(signed(DEGREES), shape)),
        _ => None,
    };
    if let Some(affine) = affine {
        room.copy_from_slice(image);
        return warp(&Canvas { shape, pixels: room, fill, mean }, affine, image);
    }
    let far = (FACTOR * u64::from(step) / u64::from(STEPS - 1)) as u32;
    let factor = if back { ONE - far } else { ONE + far };
    match change {
        Change::Brightness => colour::brightness(image, channels, factor),
        Change::Saturation => colour::saturation(image, channels, factor),
        Change::Contrast => colour::contrast(image, channels, factor),
        Change::Sharpness => colour::sharpness(image, room, shape, factor),
        // Eight bits to two.
        Change::Posterize => colour::posterize(image, channels, 8 - 6 * step / (STEPS - 1)),
        // None to all: the threshold of the first step is above every value.
        Change::Solarize => colour::solarize(image, channels, 256 - 256 * step / (STEPS - 1)),
        Change::AutoContrast => colour::auto_contrast(image, channels),
        Change::Equalize => colour::equalize(image, channels),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(change: usize, step: u32, back: bool) -> [u32; 4] {
        let word = |place: u64, of: u64| ((place << 32) / of + 1) as u32;
        [word(change as u64, 14), word(u64::from(step), 31), u32::from(back) << 31, 0]
    }

    #[test]
    fn the_first_step_changes_nothing_and_the_last_does() {
        for channels in [1, 3, 4] {
            let shape = [channels, 9, 12];
            let image: Vec<u8> =
                (0..shape.iter().product()).map(|i: usize| (i * i * 13 % 200) as u8 + 9).collect();
            let mean = [90, 100, 110, 255];
            let changed = |number: usize, step: u32, back: bool| {
                let (mut image, mut room) = (image.clone(), vec![0; image.len()]);
                let outside = (Fill::Reflect, &mean[..channels]);
                change(&mut image, &mut room, shape, outside, words(number, step, back));
                image
            };
            for (number, kind) in CHANGES.into_iter().enumerate() {
                let whole = matches!(kind, Change::AutoContrast | Change::Equalize);
                for back in [false, true] {
                    assert_eq!(
                        changed(number, 0, back) == image,
                        !whole || changed(number, 30, back) == image,
                        "{kind:?}"
                    );
                    let same = kind == Change::Identity
                        || kind == Change::Equalize
                        || kind == Change::Saturation && channels == 1;
                    assert_eq!(changed(number, 30, back) == image, same, "{kind:?}");
                }
            }
        }
    }
}
