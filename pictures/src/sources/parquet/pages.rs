//! The pages of a column, as many values as it can have, in as much memory as their bytes can stand for.

use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::SerializedPageReader;
use snap::raw::{Decoder, decompress_len};
use std::fs::File;
use std::sync::Arc;

/// Pages of a column. The header of a page may say any number of values or bytes, for which the crate `parquet` would
/// make room first, or take a few bytes for all of them. More values than `left` are refused, and a dictionary of more
/// than its bytes hold; pages are unpacked here, which Snappy makes at most 64 / 3 times as long.
pub(super) struct Bounded {
    pages: Box<dyn PageReader>,
    is_packed: bool,
    /// Values that are still to come, at most.
    left: usize,
}

impl Bounded {
    /// The pages of a column of a file, for as many rows at most.
    pub fn new(file: &Arc<File>, column: &ColumnChunkMetaData, rows: usize) -> Result<Bounded> {
        let is_packed = column.compression() == Compression::SNAPPY;
        // So pages come as they are in the file.
        let plain = column.clone().into_builder().set_compression(Compression::UNCOMPRESSED);
        let pages = SerializedPageReader::new(Arc::clone(file), &plain.build()?, rows, None)?;
        Ok(Bounded { pages: Box::new(pages), is_packed, left: rows })
    }
}

impl PageReader for Bounded {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(mut page) = self.pages.get_next_page()? else { return Ok(None) };
        if self.is_packed {
            unpack(&mut page)?;
        }
        let (found, encoding) = (page.num_values() as usize, page.encoding());
        // A value of a dictionary has four bytes at least, its number or how long it is.
        let is_dictionary = page.is_dictionary_page();
        let most = if is_dictionary { page.buffer().len() / 4 } else { self.left };
        if found > most {
            return refused(format!("found a page of {found} values, expected at most {most}"));
        }
        match encoding {
            Encoding::PLAIN
            | Encoding::PLAIN_DICTIONARY
            | Encoding::RLE_DICTIONARY
            | Encoding::DELTA_BINARY_PACKED => {}
            // Other numbers of values are in these, or texts that are parts of those before them.
            _ => {
                return refused(format!(
                    "found the encoding {encoding:?}, expected PLAIN or a dictionary"
                ));
            }
        }
        self.left -= if is_dictionary { 0 } else { found };
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }
}

impl Iterator for Bounded {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.get_next_page().transpose()
    }
}

/// Replaces what Snappy has packed: all of a page, or of one of the second version what follows its levels.
fn unpack(page: &mut Page) -> Result<()> {
    let (buffer, levels) = match page {
        Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => (buf, 0),
        Page::DataPageV2 { is_compressed: false, .. } => return Ok(()),
        Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
            (buf, *def_levels_byte_len as usize + *rep_levels_byte_len as usize)
        }
    };
    let Some((levels, packed)) = buffer.split_at_checked(levels) else {
        return refused(format!("found a page whose {levels} bytes of levels are not in it"));
    };
    // Where there are no values, there may be nothing at all.
    if packed.is_empty() {
        return Ok(());
    }
    let found = decompress_len(packed).map_err(|error| ParquetError::General(error.to_string()))?;
    // The densest element is three bytes for 64.
    let most = packed.len() / 3 * 64 + 64;
    if found > most {
        return refused(format!(
            "found a page of {found} bytes, expected at most {most} of Snappy"
        ));
    }
    let mut unpacked = vec![0; levels.len() + found];
    unpacked[..levels.len()].copy_from_slice(levels);
    Decoder::new()
        .decompress(packed, &mut unpacked[levels.len()..])
        .map_err(|error| ParquetError::General(error.to_string()))?;
    *buffer = unpacked.into();
    Ok(())
}

fn refused<T>(problem: String) -> Result<T> {
    Err(ParquetError::General(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of either version that says it has these bytes, of which the first are levels.
    fn page(bytes: &[u8], levels: Option<u32>) -> Page {
        let (buf, encoding) = (bytes.to_vec().into(), Encoding::PLAIN);
        match levels {
            None => Page::DictionaryPage { buf, num_values: 1, encoding, is_sorted: false },
            Some(levels) => Page::DataPageV2 {
                buf,
                num_values: 1,
                encoding,
                num_nulls: 0,
                num_rows: 1,
                def_levels_byte_len: levels,
                rep_levels_byte_len: 0,
                is_compressed: true,
                statistics: None,
            },
        }
    }

    fn unpacked(bytes: &[u8], levels: Option<u32>) -> Result<Vec<u8>> {
        let mut page = page(bytes, levels);
        unpack(&mut page).map(|()| page.buffer().to_vec())
    }

    /// The length is Snappy's own, before what is packed: it costs nothing to say 2 GiB.
    #[test]
    fn a_page_cannot_be_longer_than_snappy_makes_it() {
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x07, 0, b'a'];
        for levels in [None, Some(0)] {
            let message = unpacked(&bomb, levels).unwrap_err().to_string();
            assert!(message.contains("found a page of 2147483647 bytes, expected at most 192"));
        }
        // A mebibyte of one letter is as dense as it gets.
        for len in [0, 1, 63, 64, 65, 1000, 1 << 20] {
            let text = vec![b'a'; len];
            let packed = snap::raw::Encoder::new().compress_vec(&text).unwrap();
            assert_eq!(unpacked(&packed, None).unwrap(), text, "{len}");
        }
    }

    #[test]
    fn levels_are_not_packed() {
        let packed = snap::raw::Encoder::new().compress_vec(b"values").unwrap();
        let bytes = [b"levels", &packed[..]].concat();
        assert_eq!(unpacked(&bytes, Some(6)).unwrap(), b"levelsvalues");
        assert_eq!(unpacked(b"levels", Some(6)).unwrap(), b"levels");
        assert!(unpacked(&bytes, Some(60)).is_err());
        assert!(unpacked(&bytes, Some(3)).is_err());
    }
}
