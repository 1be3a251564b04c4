//! The IDX format: a header of big-endian words, then the items one after another.
//!
//! ```text
//! 00 00 08 01   count                           labels, one byte each
//! 00 00 0B 01   count                           labels, two bytes each, and
//! 00 00 0C 01   count                           labels, four bytes each, big-endian: more than 256 classes
//! 00 00 08 02   count  labels                   several labels to an image: a byte of 1 for each that it has, else 0
//! 00 00 08 03   count  height  width            images
//! 00 00 08 04   count  height  width  channels  images, the channels of a pixel side by side
//! ```
//! The third byte is the type of an element (08: unsigned byte, 0B: i16, 0C: i32), the fourth the number of
//! dimensions.

use crate::DataError;
use crate::mapped::Mapped;
use crate::storage::Storage;
use files::content;
use std::path::Path;

/// As much of a file as holds a header, or tells what else it is.
pub(crate) const FRONT: usize = 64;

/// Bytes that are copied at a time where many are looked at.
const PIECE: usize = 1 << 16;

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

/// A mapped IDX file whose length is exactly what its header declares, or as much in memory.
#[derive(Debug)]
pub(crate) struct Idx {
    pub header: Header,
    file: Storage,
}

impl Idx {
    pub fn open(path: &Path, role: Role) -> Result<Idx, DataError> {
        let file = Mapped::open(path)?;
        let mut front = [0; FRONT];
        let front = &mut front[..FRONT.min(file.len())];
        file.copy(0, front);
        let header = Header::parse(path, front, role)?;
        let (found, expected) = (file.len() as u64, header.file_len() as u64);
        if found < expected {
            return Err(DataError::Truncated { path: path.into(), found, expected });
        }
        if found > expected {
            return Err(DataError::Trailing { path: path.into(), found, expected });
        }
        Ok(Idx { header, file: Storage::File(file) })
    }

    /// Images in memory, of this shape (channels, rows, columns).
    ///
    /// # Panics
    /// If there is none, or a part of one.
    pub fn of_images(shape: [usize; 3], pixels: Vec<u8>) -> Idx {
        let len = shape.iter().product::<usize>();
        assert!(len > 0 && !pixels.is_empty() && pixels.len().is_multiple_of(len), "whole images");
        let header =
            Header { count: pixels.len() / len, shape, element: 1, len: 0, is_matrix: false };
        Idx { header, file: Storage::Memory(pixels) }
    }

    /// Images in memory whose values are numbers, stored as `f32`, little-endian.
    ///
    /// # Panics
    /// If there is none, or a part of one.
    pub fn of_float_images(shape: [usize; 3], values: &[f32]) -> Idx {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut idx = Idx::of_images(shape, bytes);
        assert!(idx.header.count.is_multiple_of(size_of::<f32>()), "whole images");
        idx.header.count /= size_of::<f32>();
        idx.header.element = size_of::<f32>();
        idx
    }

    /// Bytes of a value.
    pub fn value_len(&self) -> usize {
        self.header.element
    }

    /// Copies item `i`; panics if there are not so many, or `to` has another length.
    pub fn copy(&self, i: usize, to: &mut [u8]) {
        let Header { count, len, .. } = self.header;
        let bytes = self.header.item_len();
        assert!(
            i < count && to.len() == bytes,
            "item {i} of {count}, {} of {bytes} bytes",
            to.len()
        );
        self.file.copy(len + i * bytes, to);
    }

    /// Prefetches the front of item `i`, if there is one: of a long item the rest is fetched while the front
    /// is copied.
    pub fn prefetch(&self, i: usize) {
        const FRONT_OF_ITEM: usize = 4096;
        if i < self.header.count {
            let bytes = self.header.item_len();
            self.file.prefetch(self.header.len + i * bytes, bytes.min(FRONT_OF_ITEM));
        }
    }

    /// Bytes of all items.
    pub fn items_len(&self) -> usize {
        self.file.len() - self.header.len
    }

    /// All items, a piece at a time.
    pub fn each_piece(&self, mut f: impl FnMut(&[u8])) {
        let mut buffer = vec![0; PIECE];
        for start in (self.header.len..self.file.len()).step_by(PIECE) {
            let piece = &mut buffer[..PIECE.min(self.file.len() - start)];
            self.file.copy(start, piece);
            f(piece);
        }
    }

    /// The bytes of all items.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.items_len()];
        self.file.copy(self.header.len, &mut bytes);
        bytes
    }

    /// All labels; `Err` with the number and value of one below zero.
    pub fn to_labels(&self) -> Result<Vec<u32>, (usize, i64)> {
        let bytes = self.to_bytes();
        let signed: Vec<i32> = match self.header.element {
            1 => return Ok(bytes.into_iter().map(u32::from).collect()),
            2 => {
                bytes.as_chunks().0.iter().map(|&label| i16::from_be_bytes(label).into()).collect()
            }
            _ => bytes.as_chunks().0.iter().map(|&label| i32::from_be_bytes(label)).collect(),
        };
        let unsigned =
            |(i, label): (usize, i32)| u32::try_from(label).map_err(|_| (i, i64::from(label)));
        signed.into_iter().enumerate().map(unsigned).collect()
    }

    /// See [`Mapped::check_unchanged`]; memory is nobody else's.
    pub fn check_unchanged(&self) -> Result<(), DataError> {
        self.file.check_unchanged()
    }
}

/// What an IDX header declares. No dimension is zero, and the file's length fits an `isize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Number of items.
    pub count: usize,
    /// Channels, height and width of an image; ones for a label, `[1, labels, 1]` where images may have several.
    pub shape: [usize; 3],
    /// Bytes of an element: 1; for labels also 2 or 4, for images in memory also 4.
    element: usize,
    /// Bytes of the header itself.
    len: usize,
    /// Whether these are labels of which an image may have several.
    pub is_matrix: bool,
}

impl Header {
    /// Reads the header at the front of `bytes`. Errors name `path`.
    pub fn parse(path: &Path, bytes: &[u8], role: Role) -> Result<Header, DataError> {
        match content::recognise(bytes) {
            Some(found) if !bytes.is_empty() && !bytes.starts_with(&[0, 0]) => {
                return Err(DataError::NotIdx { path: path.into(), found, expected: role.name() });
            }
            _ => {}
        }
        let (words, _) = bytes.as_chunks::<4>();
        let mut words = words.iter().map(|word| u32::from_be_bytes(*word));
        let mut next = || {
            let found = bytes.len();
            words.next().ok_or_else(|| DataError::ShortHeader { path: path.into(), found })
        };
        let (rank, element) = match (role, next()?) {
            (Role::Labels, 0x801) => (1, 1),
            (Role::Labels, 0x802) => (2, 1),
            (Role::Labels, 0xb01) => (1, 2),
            (Role::Labels, 0xc01) => (1, 4),
            (Role::Images, 0x803) => (3, 1),
            (Role::Images, 0x804) => (4, 1),
            (Role::Labels, found) => {
                let expected = "0x00000801 (labels), 0x00000802 (several to an image), 0x00000b01 or 0x00000c01 \
                                (wider labels)";
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
        if file_len(len, dims, element).is_none() {
            return Err(DataError::TooLarge { path: path.into(), dims: dims[..rank].into() });
        }
        if !matches!(dims[3], 1 | 3 | 4) {
            return Err(DataError::Channels { path: path.into(), found: dims[3] });
        }
        // Their product fits, so each of them does.
        let [count, height, width, channels] = dims.map(|dim| dim as usize);
        let is_matrix = role == Role::Labels && rank == 2;
        Ok(Header { count, shape: [channels, height, width], element, len, is_matrix })
    }

    /// Bytes of one item.
    pub fn item_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.element
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> usize {
        self.len + self.count * self.item_len()
    }
}

/// Bytes of a file with these dimensions, unless memory cannot hold them.
fn file_len(header: usize, dims: [u32; 4], element: usize) -> Option<isize> {
    let items =
        dims.iter().try_fold(element as u64, |bytes, &dim| bytes.checked_mul(dim.into()))?;
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
    fn reads_every_kind() {
        let labels = parse(&header(0x801, &[7]), Role::Labels).unwrap();
        assert_eq!((labels.count, labels.shape, labels.file_len()), (7, [1, 1, 1], 15));
        for (magic, len) in [(0xb01, 8 + 14), (0xc01, 8 + 28)] {
            let labels = parse(&header(magic, &[7]), Role::Labels).unwrap();
            assert_eq!((labels.count, labels.shape, labels.file_len()), (7, [1, 1, 1], len));
        }
        let sets = parse(&header(0x802, &[7, 3]), Role::Labels).unwrap();
        assert_eq!((sets.count, sets.shape, sets.file_len()), (7, [1, 3, 1], 12 + 21));
        assert!(sets.is_matrix && !labels.is_matrix);
        let grey = parse(&header(0x803, &[7, 5, 3]), Role::Images).unwrap();
        assert_eq!((grey.count, grey.shape, grey.file_len()), (7, [1, 5, 3], 16 + 105));
        let colour = parse(&header(0x804, &[7, 5, 3, 4]), Role::Images).unwrap();
        assert_eq!((colour.count, colour.shape, colour.file_len()), (7, [4, 5, 3], 20 + 420));
    }

    /// Whatever is accepted keeps the promises of [`Header`], in 128-bit arithmetic.
    fn check(bytes: &[u8], role: Role) {
        let Ok(header) = parse(bytes, role) else { return };
        let shape = header.shape.iter().map(|&dim| dim as u128);
        let element = header.element as u128;
        let expected =
            header.len as u128 + header.count as u128 * element * shape.product::<u128>();
        assert_eq!(header.file_len() as u128, expected);
        assert!(expected <= isize::MAX as u128);
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
            magic in prop::sample::select(vec![0x801u32, 0x802, 0x803, 0x804, 0xb01, 0xc01]),
            dims in prop::collection::vec(prop_oneof![0..5u32, any::<u32>()], 0..5),
        ) {
            check(&header(magic, &dims), Role::Images);
            check(&header(magic, &dims), Role::Labels);
        }
    }
}
