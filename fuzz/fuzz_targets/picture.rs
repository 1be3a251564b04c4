//! A picture, and the images that are made of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pictures::{Fit, Picture};
use support::refused;

fuzz_target!(|bytes: &[u8]| {
    match Picture::read(bytes, "it") {
        Ok(picture) => {
            let [width, height] = picture.size();
            // As large as allowed is a test of its own, and takes seconds.
            if width * height > 1 << 20 {
                return;
            }
            for (shape, fit) in
                [([1, 8, 8], Fit::Pad), ([3, 4, 9], Fit::Crop), ([4, 5, 2], Fit::Stretch)]
            {
                assert_eq!(picture.fit(shape, fit).len(), shape.iter().product::<usize>());
            }
        }
        Err(error) => refused(error),
    }
});
