//! The IDX format: a header of big-endian words, then the items one after another.
//!
//! ```text
//! 00 00 08 01   count                           labels, one byte each
//! 00 00 08 03   count  height  width            images
//! 00 00 08 04   count  height  width  channels  images, the channels of a pixel side by side
//! ```
//! The third byte is the element type (08: unsigned byte), the fourth the number of dimensions.

use super::DataError;
use super::mapped::Mapped;
use std::path::Path;

/// What a file is expected to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Images,
    Labels,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Images => "images",
            Role::Labels => "labels",
        }
    }
}

/// A mapped IDX file whose length is exactly what its header declares.
pub(crate) struct Idx {
    pub header: Header,
    file: Mapped,
}

impl Idx {
    pub fn open(path: &Path, role: Role) -> Result<Idx, DataError> {
        let file = Mapped::open(path)?;
        let header = Header::parse(path, &file, role)?;
        let (found, expected) = (file.len() as u64, header.file_len() as u64);
        if found < expected {
            return Err(DataError::Truncated { path: path.into(), found, expected });
        }
        if found > expected {
            return Err(DataError::Trailing { path: path.into(), found, expected });
        }
        Ok(Idx { header, file })
    }

    /// All items.
    pub fn items(&self) -> &[u8] {
        &self.file[self.header.len..]
    }

    /// Item `i`; panics if there are not so many.
    pub fn item(&self, i: usize) -> &[u8] {
        let len = self.header.item_len();
        &self.items()[i * len..][..len]
    }

    /// See [`Mapped::check_unchanged`].
    pub fn check_unchanged(&self) -> Result<(), DataError> {
        self.file.check_unchanged()
    }
}

/// What an IDX header declares. No dimension is zero, and the file's length fits an `isize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Number of items.
    pub count: usize,
    /// Channels, height and width of an image; ones for a label.
    pub shape: [usize; 3],
    /// Bytes of the header itself.
    len: usize,
}

impl Header {
    /// The longest header.
    pub const MAX_LEN: usize = 20;

    /// Reads the header at the front of `bytes`. Errors name `path`.
    pub fn parse(path: &Path, bytes: &[u8], role: Role) -> Result<Header, DataError> {
        let (words, _) = bytes.as_chunks::<4>();
        let mut words = words.iter().map(|word| u32::from_be_bytes(*word));
        let mut next = || {
            let found = bytes.len();
            words.next().ok_or_else(|| DataError::ShortHeader { path: path.into(), found })
        };
        let rank = match (role, next()?) {
            (Role::Labels, 0x801) => 1,
            (Role::Images, 0x803) => 3,
            (Role::Images, 0x804) => 4,
            (Role::Labels, found) => {
                let expected = "0x00000801 (labels)";
                return Err(DataError::Magic { path: path.into(), found, expected });
            }
            (Role::Images, found) => {
                let expected = "0x00000803 (images) or 0x00000804 (images with channels)";
                return Err(DataError::Magic { path: path.into(), found, expected });
            }
        };
        let mut dims = [1; 4];
        for dim in &mut dims[..rank] {
            *dim = next()?;
        }

        if dims.contains(&0) {
            return Err(DataError::ZeroDimension { path: path.into(), dims: dims[..rank].into() });
        }
        let len = 4 * (1 + rank);
        if file_len(len, dims).is_none() {
            return Err(DataError::TooLarge { path: path.into(), dims: dims[..rank].into() });
        }
        if !matches!(dims[3], 1 | 3 | 4) {
            return Err(DataError::Channels { path: path.into(), found: dims[3] });
        }
        // Their product fits, so each of them does.
        let [count, height, width, channels] = dims.map(|dim| dim as usize);
        Ok(Header { count, shape: [channels, height, width], len })
    }

    /// Bytes of one item.
    pub fn item_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> usize {
        self.len + self.count * self.item_len()
    }
}

/// Bytes of a file with these dimensions, unless memory cannot hold them.
fn file_len(header: usize, dims: [u32; 4]) -> Option<isize> {
    let items = dims.iter().try_fold(1, |product: u64, &dim| product.checked_mul(dim.into()))?;
    items.checked_add(header as u64)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8], role: Role) -> Result<Header, DataError> {
        Header::parse(Path::new("fuzz"), bytes, role)
    }

    fn header(magic: u32, dims: &[u32]) -> Vec<u8> {
        [magic].iter().chain(dims).flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn reads_the_three_kinds() {
        let labels = parse(&header(0x801, &[7]), Role::Labels).unwrap();
        assert_eq!((labels.count, labels.shape, labels.file_len()), (7, [1, 1, 1], 15));
        let grey = parse(&header(0x803, &[7, 5, 3]), Role::Images).unwrap();
        assert_eq!((grey.count, grey.shape, grey.file_len()), (7, [1, 5, 3], 16 + 105));
        let colour = parse(&header(0x804, &[7, 5, 3, 4]), Role::Images).unwrap();
        assert_eq!((colour.count, colour.shape, colour.file_len()), (7, [4, 5, 3], 20 + 420));
    }

    /// Whatever is accepted keeps the promises of [`Header`], in 128-bit arithmetic.
    fn check(bytes: &[u8], role: Role) {
        let Ok(header) = parse(bytes, role) else { return };
        let shape = header.shape.iter().map(|&dim| dim as u128);
        let expected = header.len as u128 + header.count as u128 * shape.product::<u128>();
        assert_eq!(header.file_len() as u128, expected);
        assert!(expected <= isize::MAX as u128 && header.len <= Header::MAX_LEN);
        assert!(header.count > 0 && header.item_len() > 0 && bytes.len() >= header.len);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            check(&bytes, Role::Images);
            check(&bytes, Role::Labels);
        }

        #[test]
        fn arbitrary_dimensions(
            magic in prop::sample::select(vec![0x801u32, 0x803, 0x804]),
            dims in prop::collection::vec(prop_oneof![0..5u32, any::<u32>()], 0..5),
        ) {
            check(&header(magic, &dims), Role::Images);
            check(&header(magic, &dims), Role::Labels);
        }
    }
}
