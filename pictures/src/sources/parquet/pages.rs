//! The pages of a column, as many values as it can have.

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

/// Pages of a column. The header of a page may say any number of values, for which the crate `parquet` would make room,
/// or take a few bytes for all of them: more than `left` are refused, and a dictionary of more than its bytes hold.
pub(super) struct Bounded {
    pub pages: Box<dyn PageReader>,
    /// Values that are still to come, at most.
    pub left: usize,
}

impl PageReader for Bounded {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(page) = self.pages.get_next_page()? else { return Ok(None) };
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

fn refused<T>(problem: String) -> Result<T> {
    Err(ParquetError::General(problem))
}
