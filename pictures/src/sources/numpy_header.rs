//! The header of a `.npy` file.
//!
//! The format is that of NumPy's `numpy.lib.format`: `\x93NUMPY`, a version, the length of the header, and a
//! dictionary of Python: `{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 28, 28), }`.

use std::io::{self, Read};

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    I64,
    U64,
    F32,
    F64,
}

impl Element {
    /// Bytes of an element.
    pub fn len(self) -> usize {
        match self {
            Element::U8 | Element::I8 => 1,
            Element::U16 | Element::I16 => 2,
            Element::U32 | Element::I32 | Element::F32 => 4,
            Element::I64 | Element::U64 | Element::F64 => 8,
        }
    }

    /// The value of an element, of which the bytes are little-endian.
    pub fn value(self, bytes: &[u8]) -> f64 {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(wide);
        match self {
            Element::U8 | Element::U16 | Element::U32 | Element::U64 => unsigned as f64,
            Element::I8 => f64::from(unsigned as i8),
            Element::I16 => f64::from(unsigned as i16),
            Element::I32 => f64::from(unsigned as i32),
            Element::I64 => unsigned as i64 as f64,
            Element::F32 => f64::from(f32::from_bits(unsigned as u32)),
            Element::F64 => f64::from_bits(unsigned),
        }
    }

    fn parse(descr: &str) -> Option<Element> {
        Some(match descr {
            "|u1" => Element::U8,
            "|i1" => Element::I8,
            "<u2" => Element::U16,
            "<i2" => Element::I16,
            "<u4" => Element::U32,
            "<i4" => Element::I32,
            "<i8" => Element::I64,
            "<u8" => Element::U64,
            "<f4" => Element::F32,
            "<f8" => Element::F64,
            _ => return None,
        })
    }
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub element: Element,
    pub shape: Vec<usize>,
    /// Bytes of the header itself.
    pub len: u64,
}

impl Header {
    /// Reads a header; `Err` says what was found instead.
    pub fn read(reader: &mut impl Read) -> Result<Header, String> {
        let cannot = |cause: io::Error| format!("no NumPy array: {cause}");
        let mut front = [0; 8];
        reader.read_exact(&mut front).map_err(cannot)?;
        let [0x93, b'N', b'U', b'M', b'P', b'Y', version, _] = front else {
            return Err("no NumPy array".into());
        };
        let mut size = [0; 4];
        let width = if version == 1 { 2 } else { 4 };
        reader.read_exact(&mut size[..width]).map_err(cannot)?;
        let size = u32::from_le_bytes(size);
        if size > 1 << 16 {
            return Err(format!("an array with a header of {size} bytes"));
        }
        let mut text = vec![0; size as usize];
        reader.read_exact(&mut text).map_err(cannot)?;
        let text = String::from_utf8_lossy(&text);
        let (element, shape) = parse(&text)?;
        Ok(Header { element, shape, len: (8 + width) as u64 + u64::from(size) })
    }

    /// Bytes of all elements; `None` if memory could not hold them.
    pub fn elements_len(&self) -> Option<u64> {
        let count = self
            .shape
            .iter()
            .try_fold(self.element.len() as u64, |len, &dim| len.checked_mul(dim as u64));
        count.filter(|&len| i64::try_from(len).is_ok())
    }
}

/// The element and the shape in the dictionary.
fn parse(text: &str) -> Result<(Element, Vec<usize>), String> {
    let damaged = || format!("an array with the header {:?}", text.trim());
    let after = |key: &str| {
        let at = text.find(&format!("'{key}'"))?;
        Some(text[at + key.len() + 2..].trim_start().strip_prefix(':')?.trim_start())
    };
    let descr = after("descr").ok_or_else(damaged)?;
    let Some(descr) = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) else {
        return Err("an array of records, expected one of numbers".into());
    };
    let Some(element) = Element::parse(descr.0) else {
        return Err(format!(
            "an array of the type {}, expected uint8, or other little-endian integers or floats",
            descr.0
        ));
    };
    if !after("fortran_order").ok_or_else(damaged)?.starts_with("False") {
        return Err(
            "an array in Fortran's order, expected C's: np.ascontiguousarray makes it".into()
        );
    }
    let shape = after("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
    let dims = shape.ok_or_else(damaged)?.0.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    let shape = dims.map(|dim| dim.trim_end_matches('L').parse()).collect::<Result<_, _>>();
    Ok((element, shape.map_err(|_| damaged())?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A `.npy` file of these bytes.
    pub fn npy(descr: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
        let mut text =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        while (10 + text.len() + 1) % 64 != 0 {
            text.push(' ');
        }
        text.push('\n');
        let len = (text.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &len[..], text.as_bytes(), bytes].concat()
    }

    fn read(bytes: &[u8]) -> Result<Header, String> {
        Header::read(&mut &bytes[..])
    }

    #[test]
    fn headers_are_read() {
        let file = npy("<i8", "(3,)", &[]);
        let header = read(&file).unwrap();
        assert_eq!(
            (header.element, &header.shape[..], header.len),
            (Element::I64, &[3][..], file.len() as u64)
        );
        assert_eq!(read(&npy("|u1", "(2, 3, 4)", &[])).unwrap().elements_len(), Some(24));
        assert_eq!(read(&npy("<f4", "()", &[])).unwrap().elements_len(), Some(4));
        let huge = read(&npy("<f8", "(4611686018427387904, 4)", &[])).unwrap();
        assert_eq!(huge.elements_len(), None);
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(read(b"PK\x03\x04....").unwrap_err(), "no NumPy array");
        assert!(read(&npy(">f4", "(3,)", &[])).unwrap_err().contains("of the type >f4"));
        assert!(read(&npy("<U5", "(3,)", &[])).unwrap_err().contains("of the type <U5"));
        assert!(read(&npy("|u1", "(3, x)", &[])).unwrap_err().contains("with the header"));
        let fortran =
            String::from_utf8_lossy(&npy("|u1", "(3,)", &[])[10..]).replace("False", "True ");
        assert!(parse(&fortran).unwrap_err().contains("Fortran"));
    }

    #[test]
    fn values_have_their_sign() {
        assert_eq!(Element::I16.value(&(-3i16).to_le_bytes()), -3.0);
        assert_eq!(Element::U16.value(&65533u16.to_le_bytes()), 65533.0);
        assert_eq!(Element::F32.value(&0.5f32.to_le_bytes()), 0.5);
        assert_eq!(Element::I64.value(&(-1i64).to_le_bytes()), -1.0);
    }
}
