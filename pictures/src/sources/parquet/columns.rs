//! The columns of a Parquet file: which they are, and what is in them.

use super::pages::Bounded;
use crate::ImportError;
use crate::sources::refused;
use crate::sources::table::CLASSES;
use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What columns of pictures are called.
const PICTURES: [&str; 7] = ["image", "img", "picture", "photo", "jpg", "png", "bytes"];
/// What columns of classes are called beside those of tables.
const MORE_CLASSES: [&str; 2] = ["fine_label", "cls"];
/// Rows that are read together.
const ROWS: usize = 64;
/// Columns that a message names.
const SHOWN: usize = 8;
/// The bytes of a column may be so many times those of the file. Snappy shrinks to a 21st at best, but a dictionary has
/// once what is in any number of rows.
const MOST_UNPACKED: u64 = 32;
/// So many MiB they may be in any case: a small set may have few pictures many times.
const FREE: u64 = 256;

/// A Parquet file.
pub(super) struct Reader<'a> {
    file: SerializedFileReader<File>,
    /// The same file, for its pages.
    pages: Arc<File>,
    rows: usize,
    /// Bytes of the file.
    len: u64,
    /// Ends every reading once it is set.
    stop: &'a AtomicBool,
}

/// Which of the columns holds what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// The bytes of pictures.
    pub bytes: usize,
    /// What the pictures are called.
    pub path: Option<usize>,
    pub class: usize,
}

/// A label for each picture.
pub(super) enum Labels {
    Numbers(Vec<u32>),
    Texts(Vec<String>),
}

impl Labels {
    pub fn numbers(&self) -> Option<&[u32]> {
        if let Labels::Numbers(numbers) = self { Some(numbers) } else { None }
    }

    pub fn texts(&self) -> Option<&[String]> {
        if let Labels::Texts(texts) = self { Some(texts) } else { None }
    }
}

impl<'a> Reader<'a> {
    pub fn open(path: &Path, stop: &'a AtomicBool) -> Result<Reader<'a>, ImportError> {
        let io = |cause| ImportError::Io { path: path.into(), action: "read", cause };
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let pages = Arc::new(file.try_clone().map_err(io)?);
        let file = SerializedFileReader::new(file)
            .or_else(|error| refused(path, format!("found no Parquet file: {}", line(&error))))?;
        let rows = file.metadata().file_metadata().num_rows();
        // A picture has more than a byte.
        match usize::try_from(rows) {
            Ok(rows) if rows as u64 <= len => Ok(Reader { file, pages, rows, len, stop }),
            _ => refused(path, format!("found {rows} rows in {len} bytes, expected fewer")),
        }
    }

    /// Finds the columns.
    pub fn columns(&self) -> Result<Columns, String> {
        let schema = self.file.metadata().file_metadata().schema_descr();
        let all: Vec<String> =
            schema.columns().iter().map(|column| column.path().string()).collect();
        let at = |name: &str| all.iter().position(|path| path.eq_ignore_ascii_case(name));
        let is_binary = |&i: &usize| schema.column(i).physical_type() == Type::BYTE_ARRAY;
        let structs: Vec<usize> =
            (0..all.len()).filter(|i| all[*i].ends_with(".bytes") && is_binary(i)).collect();
        let bytes = match structs[..] {
            [only] => Some(only),
            _ => PICTURES.iter().find_map(|name| {
                at(&format!("{name}.bytes")).or_else(|| at(name)).filter(|i| is_binary(i))
            }),
        };
        let class = CLASSES.iter().chain(&MORE_CLASSES).find_map(|name| at(name));
        let (Some(bytes), Some(class)) = (bytes, class) else {
            let [pictures, classes] = [PICTURES[..3].join(", "), CLASSES[..3].join(", ")];
            let more =
                if all.len() > SHOWN { format!(", … of {}", all.len()) } else { String::new() };
            return Err(format!(
                "found the columns {}{more}, expected one of pictures ({pictures}, …: struct<bytes, path> or binary) \
                 and one of classes ({classes}, …)",
                all[..all.len().min(SHOWN)].join(", ")
            ));
        };
        let path = all[bytes].strip_suffix(".bytes").and_then(|name| at(&format!("{name}.path")));
        let columns = Columns { bytes, path: path.filter(is_binary), class };
        for column in [Some(bytes), Some(class), columns.path].into_iter().flatten() {
            self.check(column, &schema.column(column))?;
        }
        Ok(columns)
    }

    /// Whether a column has one value a row at most, and is packed by Snappy, which shrinks to a 21st at best, or not at
    /// all.
    fn check(&self, column: usize, descriptor: &ColumnDescriptor) -> Result<(), String> {
        let name = descriptor.path().string();
        if descriptor.max_rep_level() > 0 {
            return Err(format!("column {name}: found lists, expected one value a row"));
        }
        for group in self.file.metadata().row_groups() {
            match group.column(column).compression() {
                Compression::UNCOMPRESSED | Compression::SNAPPY => {}
                other => {
                    // A level in brackets is not that of the file, which has none.
                    let found = other.to_string();
                    let found = found.split('(').next().unwrap_or_default();
                    return Err(format!(
                        "column {name}: found {found}, expected no compression or SNAPPY"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The label of each row.
    pub fn labels(&self, columns: &Columns) -> Result<Labels, String> {
        let schema = self.file.metadata().file_metadata().schema_descr();
        let column = schema.column(columns.class);
        let name = column.path().string();
        match column.physical_type() {
            Type::INT32 | Type::INT64 => self.numbers(columns.class).map(Labels::Numbers),
            Type::BYTE_ARRAY => {
                let mut texts = vec![];
                self.each(columns.class, |row, bytes| {
                    let text = bytes.and_then(|bytes| str::from_utf8(bytes).ok());
                    texts.push(
                        text.ok_or(format!("row {row}: found no text as {name}"))?.to_owned(),
                    );
                    Ok(())
                })?;
                Ok(Labels::Texts(texts))
            }
            other => Err(format!("column {name}: found {other}, expected whole numbers or texts")),
        }
    }

    fn numbers(&self, column: usize) -> Result<Vec<u32>, String> {
        let mut numbers = vec![];
        let mut push = |row: usize, number: Option<i64>| {
            let found = number.map_or("no label".into(), |number| format!("label {number}"));
            let number = number.and_then(|number| u32::try_from(number).ok());
            let expected = "expected a whole number from 0 on";
            numbers.push(number.ok_or(format!("row {row}: found {found}, {expected}"))?);
            Ok(())
        };
        self.each_group(column, |first, reader| match reader {
            ColumnReader::Int32ColumnReader(reader) => {
                let push = |row, value: Option<&i32>| push(row, value.map(|&number| number.into()));
                self.each_value(first, reader, push)
            }
            ColumnReader::Int64ColumnReader(reader) => {
                self.each_value(first, reader, |row, value| push(row, value.copied()))
            }
            _ => Err("found another type than its schema says".into()),
        })?;
        Ok(numbers)
    }

    /// Calls `f` with the number of each row and the bytes of a column in it. Of all rows these are
    /// [`MOST_UNPACKED`] times those of the file at most, or [`FREE`] MiB; `f` may keep them.
    pub fn each(
        &self,
        column: usize,
        mut f: impl FnMut(usize, Option<&[u8]>) -> Result<(), String>,
    ) -> Result<(), String> {
        let most = self.len.saturating_mul(MOST_UNPACKED).max(FREE << 20);
        let mut all = 0;
        let mut counted = |row: usize, bytes: Option<&[u8]>| {
            all += bytes.map_or(0, <[u8]>::len) as u64;
            if all <= most {
                return f(row, bytes);
            }
            let schema = self.file.metadata().file_metadata().schema_descr();
            let name = schema.column(column).path().string();
            Err(format!(
                "column {name}: found over {} MiB in the rows to {row}, which only the same values again and again \
                 take, expected {MOST_UNPACKED} times the bytes of the file at most, or {FREE} MiB",
                most >> 20
            ))
        };
        self.each_group(column, |first, reader| match reader {
            ColumnReader::ByteArrayColumnReader(reader) => {
                self.each_value(first, reader, |row, value| {
                    counted(row, value.map(ByteArray::data))
                })
            }
            _ => Err("found another type than its schema says".into()),
        })
    }

    /// Calls `f` with the first row of each group and a reader of the column in it; as many rows are read as the file
    /// says that it has.
    fn each_group(
        &self,
        column: usize,
        mut f: impl FnMut(usize, ColumnReader) -> Result<usize, String>,
    ) -> Result<(), String> {
        let mut rows = 0;
        for group in self.file.metadata().row_groups() {
            let column = group.column(column);
            let pages = Bounded::new(&self.pages, column, self.rows - rows);
            let pages = Box::new(pages.map_err(|error| line(&error))?);
            rows += f(rows, get_column_reader(column.column_descr_ptr(), pages))?;
        }
        match rows == self.rows {
            true => Ok(()),
            false => Err(format!("found {rows} rows, expected {}", self.rows)),
        }
    }

    /// Calls `f` with the number of each row, from `first` on, and the value in it; returns how many there are.
    fn each_value<T: DataType>(
        &self,
        first: usize,
        mut reader: ColumnReaderImpl<T>,
        mut f: impl FnMut(usize, Option<&T::T>) -> Result<(), String>,
    ) -> Result<usize, String> {
        let (mut rows, mut levels, mut values) = (0, vec![], vec![]);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err("interrupted".into());
            }
            levels.clear();
            values.clear();
            let read = reader.read_records(ROWS, Some(&mut levels), None, &mut values);
            let (records, ..) = read.map_err(|error| line(&error))?;
            if records == 0 {
                return Ok(rows);
            }
            // Where no value is missing there are no levels, or all are the highest.
            let highest = levels.iter().max().copied();
            let is_present =
                |i: usize| values.len() == records || levels.get(i).copied() == highest;
            let mut present = values.iter();
            for i in 0..records {
                let value = if is_present(i) { present.next() } else { None };
                f(first + rows + i, value)?;
            }
            rows += records;
        }
    }

    /// The names of the classes, where the `datasets` library has left them.
    pub fn class_names(&self, columns: &Columns) -> Option<Vec<String>> {
        let metadata = self.file.metadata().file_metadata();
        let column = metadata.schema_descr().column(columns.class).path().string();
        let entries = metadata.key_value_metadata()?;
        let text = entries.iter().find(|entry| entry.key == "huggingface")?.value.as_deref()?;
        let known: Value = serde_json::from_str(text).ok()?;
        let names = known.pointer("/info/features")?.get(column)?.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    }
}

/// An error in one line.
fn line(error: &ParquetError) -> String {
    let text = error.to_string();
    text.trim_start_matches("Parquet error: ").trim_end().replace(char::is_control, " ")
}
