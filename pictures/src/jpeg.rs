//! The segments of a JPEG file, as far as they say what decoding it takes.

/// What there is to know of a JPEG file before it is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Jpeg {
    /// Whether its image has an end: the decoder makes grey of what is missing.
    pub is_whole: bool,
    /// Whether it comes in several scans, so that all coefficients are kept until the last.
    pub is_progressive: bool,
}

/// Walks over the segments.
///
/// Segments are `FF`, a marker, and mostly a length and content; after a start of scan comes data in
/// which `FF` is followed by `00` or a restart marker.
pub(crate) fn survey(bytes: &[u8]) -> Jpeg {
    const SOI: u8 = 0xd8;
    const EOI: u8 = 0xd9;
    const BASELINE: [u8; 2] = [0xc0, 0xc1];
    const FRAMES: [u8; 13] =
        [0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf];
    let (mut at, mut jpeg) = (0, Jpeg::default());
    loop {
        // Any number of FF may stand before a marker.
        let marker = match (bytes.get(at), bytes.get(at + 1)) {
            (Some(0xff), Some(0xff)) => {
                at += 1;
                continue;
            }
            (Some(0xff), Some(&marker)) => marker,
            (Some(_), Some(_)) => {
                at += 1;
                continue;
            }
            _ => return jpeg,
        };
        at += 2;
        match marker {
            EOI => return Jpeg { is_whole: true, ..jpeg },
            SOI | 0x00 | 0x01 | 0xd0..=0xd7 => continue,
            _ => {}
        }
        jpeg.is_progressive |= FRAMES.contains(&marker) && !BASELINE.contains(&marker);
        // After a start of scan the next marker is looked for in its data.
        let Some(&[high, low]) = bytes.get(at..at + 2) else { return jpeg };
        at += usize::from(u16::from_be_bytes([high, low])).max(2);
    }
}
