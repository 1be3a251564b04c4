//! A table of pictures and their classes: a CSV file, or a TSV file.
//!
//! The first line names the columns: one of the paths of pictures, one of the classes, and perhaps one of
//! the parts of the data set. Without such a line the first column is the path, the second the class. Paths
//! are those from the directory of the table on, and may lack the ending.
//!
//! Where any picture has several labels, with `;` between them (in a column `labels` or `tags` also `|`), all may have
//! several, or none.

use super::{Collection, Item, Part, Place, part_named};
use crate::ImportError;
use csv::{ReaderBuilder, StringRecord, Trim};
use files::content::{self, PICTURE_ENDINGS};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

const PATHS: [&str; 12] = [
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "image_name",
    "image_id",
    "picture",
    "id",
];
pub(super) const CLASSES: [&str; 11] = [
    "label",
    "class",
    "category",
    "target",
    "label_name",
    "class_name",
    "species",
    "breed",
    "y",
    LABELS[0],
    LABELS[1],
];
/// Columns of several labels.
const LABELS: [&str; 2] = ["labels", "tags"];
const PARTS: [&str; 5] = ["split", "part", "set", "subset", "partition"];

/// Where in a line what stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    path: usize,
    class: usize,
    part: Option<usize>,
    /// Whether the first line is a picture.
    headless: bool,
    /// Whether the name of the column of classes says that there may be several.
    plural: bool,
}

/// Lists the pictures of a table.
pub(super) fn open(path: &Path) -> Result<Collection, ImportError> {
    let wrong = |problem: String| ImportError::of(path, &problem);
    if let Some(found) = content::of_file(path) {
        return Err(wrong(format!("found {found}, expected a table")));
    }
    let bytes = fs::read(path);
    let bytes =
        bytes.map_err(|cause| ImportError::Io { path: path.into(), action: "read", cause })?;
    let text = str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        wrong(format!("line {line}: found bytes that are not UTF-8, expected UTF-8"))
    })?;
    let tabs = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .delimiter(if tabs { b'\t' } else { b',' })
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let lines: Vec<StringRecord> =
        reader.records().collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    let Some(first) = lines.first() else { return Err(wrong("found no line".into())) };
    let root = path.parent().unwrap_or(Path::new(""));
    let columns = columns(first, root).map_err(wrong)?;
    let records = || lines.iter().enumerate().skip(usize::from(!columns.headless));
    let separators: &[char] = if columns.plural { &[';', '|'] } else { &[';'] };
    let class = |record: &StringRecord, separator| {
        record.get(columns.class).is_some_and(|class| class.contains(separator))
    };
    let separator =
        separators.iter().find(|&&separator| records().any(|(_, record)| class(record, separator)));
    let mut rows = vec![];
    for (line, record) in records() {
        rows.push(row(record, columns, root, separator.copied()).map_err(|problem| {
            wrong(format!(
                "line {}: {problem}",
                record.position().map_or(line as u64 + 1, |at| at.line())
            ))
        })?);
    }
    Ok(collection(rows, separator.is_some(), root))
}

/// The pictures of these lines, which may have several classes each.
fn collection(rows: Vec<Row>, several: bool, root: &Path) -> Collection {
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| &row.classes).collect();
    let classes = in_order(names.into_iter().cloned().collect());
    let numbers: HashMap<&String, u32> = classes.iter().zip(0..).collect();
    let mut known = BTreeMap::new();
    let items = rows.iter().map(|row| {
        let of: BTreeSet<u32> = row.classes.iter().map(|class| numbers[class]).collect();
        let next = known.len() as u32;
        let class = match several {
            true => *known.entry(of.into_iter().collect::<Vec<u32>>()).or_insert(next),
            false => numbers[&row.classes[0]],
        };
        Item { class, part: row.part, place: Place::File(row.picture.clone()) }
    });
    let items = items.collect();
    let mut sets = vec![vec![]; known.len()];
    known.into_iter().for_each(|(set, number)| sets[number as usize] = set);
    let root = root.into();
    Collection { classes, sets, items, root, blocks: vec![], size: None, outside: 0, hidden: 0 }
}

/// Numbers in the order of numbers, else as texts are sorted.
pub(super) fn in_order(mut names: Vec<String>) -> Vec<String> {
    if names.iter().all(|name| name.parse::<i64>().is_ok()) {
        names.sort_by_key(|name| name.parse::<i64>().unwrap_or(0));
    }
    names
}

/// What the first line says of the columns.
fn columns(first: &StringRecord, root: &Path) -> Result<Columns, String> {
    // Some spreadsheets begin a file with a mark of byte order.
    let names: Vec<String> =
        first.iter().map(|name| name.trim_start_matches('\u{feff}').to_lowercase()).collect();
    let find =
        |known: &[&str]| known.iter().find_map(|known| names.iter().position(|name| name == known));
    match (find(&PATHS), find(&CLASSES)) {
        (Some(path), Some(class)) => {
            let plural = LABELS.contains(&&*names[class]);
            Ok(Columns { path, class, part: find(&PARTS), headless: false, plural })
        }
        (None, None) if names.len() == 2 && find_file(root, &first[0]).exists() => {
            Ok(Columns { path: 0, class: 1, part: None, headless: true, plural: false })
        }
        _ => Err(format!(
            "found the columns {}, expected one of paths ({}, …) and one of classes ({}, …)",
            names.join(", "),
            PATHS[..3].join(", "),
            CLASSES[..3].join(", "),
        )),
    }
}

/// A line of a table.
struct Row {
    picture: PathBuf,
    /// One, unless there may be several.
    classes: Vec<String>,
    part: Option<Part>,
}

fn row(
    record: &StringRecord,
    columns: Columns,
    root: &Path,
    separator: Option<char>,
) -> Result<Row, String> {
    let field = |column: usize, what: &str| match record.get(column) {
        Some(field) if !field.is_empty() => Ok(field),
        _ => Err(format!("found no {what}")),
    };
    let path = field(columns.path, "path")?;
    let classes = match separator {
        None => vec![field(columns.class, "class")?.to_owned()],
        Some(separator) => {
            let labels = record.get(columns.class).unwrap_or_default().split(separator);
            labels.map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect()
        }
    };
    let part = match columns.part {
        None => None,
        Some(column) => {
            let name = field(column, "part of the data set")?;
            let expected = format!("found the part {name:?}, expected train, val or test");
            Some(part_named(name).ok_or(expected)?)
        }
    };
    Ok(Row { picture: find_file(root, path), classes, part })
}

/// The file at a path, or the one whose name has an ending that the path lacks.
fn find_file(root: &Path, path: &str) -> PathBuf {
    let path = root.join(path.trim_start_matches('\u{feff}'));
    if path.exists() {
        return path;
    }
    let with = |ending: &str| {
        let mut name = OsString::from(&path);
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    };
    let mut names =
        PICTURE_ENDINGS.iter().flat_map(|ending| [with(ending), with(&ending.to_uppercase())]);
    names.find(|path| path.exists()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, text: &str) -> Result<Vec<(String, String, Option<Part>)>, String> {
        let directory = tempfile::TempDir::new().unwrap();
        fs::create_dir(directory.path().join("in")).unwrap();
        for name in ["in/a.jpg", "in/B.TIFF", "in/c.png"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        let found = open(&path).map_err(|error| error.to_string().replace('\\', "/"))?;
        let item = |item: &Item| {
            let classes = found.classes_of(item).iter().map(|&c| &*found.classes[c as usize]);
            (found.name(item), classes.collect::<Vec<_>>().join("+"), item.part)
        };
        Ok(found.items.iter().map(item).collect())
    }

    fn of(path: &str, class: &str, part: Option<Part>) -> (String, String, Option<Part>) {
        (path.into(), class.into(), part)
    }

    #[test]
    fn tables_are_read() {
        assert_eq!(
            table("t.csv", "\u{feff}ID,Breed\nin/a,pug\n\"b, c.png\",husky\n").unwrap(),
            [of("in/a.jpg", "pug", None), of("b, c.png", "husky", None)]
        );
        assert_eq!(
            table("t.tsv", "label\tsplit\tfile\n10\ttest\tx.png\n9\tTrain\ty.png\n").unwrap(),
            [of("x.png", "10", Some(Part::Test)), of("y.png", "9", Some(Part::Train))]
        );
        assert_eq!(
            table("t.csv", "in/c.png,1\nin/B,0\n").unwrap(),
            [of("in/c.png", "1", None), of("in/B.TIFF", "0", None)]
        );
    }

    #[test]
    fn several_labels_are_read() {
        assert_eq!(
            table("t.csv", "path,label\na,sea; beach\nb,sea\nc,\nd,beach;sea;beach\n").unwrap(),
            [
                of("a", "beach+sea", None),
                of("b", "sea", None),
                of("c", "", None),
                of("d", "beach+sea", None)
            ]
        );
        assert_eq!(
            table("t.csv", "path,tags\na,x|y\nb,x\n").unwrap(),
            [of("a", "x+y", None), of("b", "x", None)]
        );
        // A stroke may be in the name of a class.
        assert_eq!(table("t.csv", "path,label\na,x|y\n").unwrap(), [of("a", "x|y", None)]);
        assert!(
            table("t.csv", "path,labels\na,x\nb,\n")
                .unwrap_err()
                .contains("line 3: found no class")
        );
    }

    #[test]
    fn numbers_are_in_their_order() {
        let names = |names: &[&str]| in_order(names.iter().map(|&name| name.into()).collect());
        assert_eq!(names(&["1", "10", "9"]), ["1", "9", "10"]);
        assert_eq!(names(&["1", "10", "x"]), ["1", "10", "x"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |text| table("t.csv", text).unwrap_err();
        assert!(message("").contains("t.csv: found an empty file"));
        assert!(message("\n").contains("t.csv: found no line"));
        let columns = message("path,size\na,1\n");
        assert!(
            columns.contains("found the columns path, size, expected one of paths"),
            "{columns}"
        );
        // Names that are not known are no picture.
        assert!(message("img,kind\na,1\n").contains("found the columns img, kind"));
        assert!(message("path,label\na,1\n,2\n").contains("line 3: found no path"));
        assert!(
            message("path,label,split\na,1,train\nb,2,extra\n")
                .contains("line 3: found the part \"extra\"")
        );
        assert!(message("path,label\na,1\nb\n").contains("found record with 1 fields"));
        // What is quoted may be of many lines, and long.
        let quoted = message(&format!("a,\"b\nc\",{}\n", "d".repeat(10_000)));
        assert!(quoted.contains("found the columns a, b c, dd"), "{quoted}");
        assert!(!quoted.contains('\n') && quoted.len() < 1000, "{quoted}");
    }
}
