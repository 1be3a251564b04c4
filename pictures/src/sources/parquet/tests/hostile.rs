//! Files of which a few bytes stand for much.

use super::*;
use ::parquet::basic::Encoding;
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

/// Labels of as many rows.
enum Written<'a> {
    Numbers(&'a [i64]),
    Texts(&'a [ByteArray]),
}

/// Writes a file of pictures that are each another, and of labels.
fn write(path: &Path, labels: &Written<'_>, properties: WriterPropertiesBuilder) {
    let (label, rows) = match labels {
        Written::Numbers(labels) => ("INT64", labels.len()),
        Written::Texts(labels) => ("BYTE_ARRAY", labels.len()),
    };
    let schema = format!("message schema {{ REQUIRED BYTE_ARRAY image; REQUIRED {label} label; }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = properties.set_column_dictionary_enabled("image".into(), false).build();
    let file = File::create(path).unwrap();
    let mut file = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let mut group = file.next_row_group().unwrap();
    let pictures: Vec<ByteArray> =
        (0..rows as u32).map(|i| i.to_le_bytes().to_vec().into()).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&pictures, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    match labels {
        Written::Numbers(labels) => {
            column.typed::<Int64Type>().write_batch(labels, None, None).unwrap()
        }
        Written::Texts(labels) => {
            column.typed::<ByteArrayType>().write_batch(labels, None, None).unwrap()
        }
    };
    column.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
}

/// Replaces bytes of the labels; returns how often.
fn replace(path: &Path, from: &[u8], to: &[u8]) -> usize {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let (start, len) = reader.metadata().row_group(0).column(1).byte_range();
    let mut bytes = fs::read(path).unwrap();
    let mut count = 0;
    for at in start as usize..=(start + len) as usize - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            count += 1;
        }
    }
    fs::write(path, bytes).unwrap();
    count
}

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.parquet");
    (folder, path)
}

fn message(path: &Path) -> String {
    open(path).err().expect("refused").to_string()
}

/// One run of equal labels: more rows cost no more bytes. It is refused before they are there.
#[test]
fn a_page_of_more_rows_than_the_file() {
    let (_folder, path) = place();
    write(&path, &Written::Numbers(&[7; 8200]), WriterProperties::builder());
    // The number in the header of the page, signed, and that in the header of the run, doubled.
    assert_eq!(replace(&path, &[0x90, 0x80, 0x01], &[0xfe, 0xff, 0x7f]), 2);
    let message = message(&path);
    assert!(message.contains("found a page of 1048575 values, expected at most 8200"), "{message}");
}

#[test]
fn a_dictionary_of_more_values_than_its_bytes() {
    let (_folder, path) = place();
    let labels: Vec<ByteArray> = (0..8).map(|i| vec![b'a' + i % 2].into()).collect();
    write(&path, &Written::Texts(&labels), WriterProperties::builder());
    assert_eq!(open(&path).unwrap().classes, ["a", "b"]);
    // The header of a dictionary and its first field.
    assert_eq!(replace(&path, &[0x4c, 0x15, 0x04], &[0x4c, 0x15, 0x7e]), 1);
    let message = message(&path);
    assert!(message.contains("found a page of 63 values, expected at most 2"), "{message}");
}

/// These have numbers of values of their own, which the crate `parquet` trusts.
#[test]
fn encodings_with_numbers_of_their_own() {
    let (_folder, path) = place();
    let labels: Vec<ByteArray> = (0..8).map(|i| vec![b'a' + i % 2].into()).collect();
    for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY] {
        let properties = WriterProperties::builder()
            .set_column_dictionary_enabled("label".into(), false)
            .set_column_encoding("label".into(), encoding);
        write(&path, &Written::Texts(&labels), properties);
        let message = message(&path);
        assert!(message.contains(&format!("found the encoding {encoding:?}")), "{message}");
    }
}

/// A long text is in a dictionary once, and would be in memory for each row.
#[test]
fn texts_of_more_bytes_than_all() {
    let (_folder, path) = place();
    let labels: Vec<ByteArray> = vec![vec![b'a'; 300_000].into(); 1000];
    write(&path, &Written::Texts(&labels), WriterProperties::builder());
    let stop = AtomicBool::new(false);
    let mut rows = 0;
    let read = Reader::open(&path, &stop).unwrap().each(1, |_, _| {
        rows += 1;
        Ok(())
    });
    let message = read.unwrap_err();
    assert!(message.contains("column label: found over 256 MiB in the rows to 894"), "{message}");
    assert_eq!(rows, 894);
}

#[test]
fn a_list_of_columns_stays_short() {
    let (_folder, path) = place();
    let columns: String = (0..5000).map(|i| format!("REQUIRED INT64 c{i}; ")).collect();
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {columns}}}")).unwrap());
    let file = File::create(&path).unwrap();
    let file = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    file.close().unwrap();
    let message = message(&path);
    assert!(message.contains("c6, c7, … of 5000, expected one of pictures"), "{message}");
}
