//! A picture, and the images that are made of it.

use super::refused;
use pictures::{Fit, Picture};

/// The picture is read and fitted.
pub fn target(bytes: &[u8]) -> bool {
    match Picture::read(bytes, "it") {
        Ok(picture) => {
            let [width, height] = picture.size();
            // As large as allowed is a test of its own, and takes seconds.
            if width * height > 1 << 20 {
                return true;
            }
            for (shape, fit) in
                [([1, 8, 8], Fit::Pad), ([3, 4, 9], Fit::Crop), ([4, 5, 2], Fit::Stretch)]
            {
                assert_eq!(picture.fit(shape, fit).len(), shape.iter().product::<usize>());
            }
            true
        }
        Err(error) => refused(error),
    }
}
