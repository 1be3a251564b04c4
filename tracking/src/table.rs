//! Tables of text, for people and for programs.

use std::fmt::Write;

/// Cells in columns, right-aligned but the last.
pub(crate) fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match i + 1 == columns {
                true => writeln!(text, "{cell}"),
                false => write!(text, "{cell:>width$}  "),
            };
        }
    }
    text
}

/// Records of RFC 4180.
pub fn csv(rows: &[Vec<String>]) -> String {
    let quote = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    let line = |row: &Vec<String>| row.iter().map(quote).collect::<Vec<_>>().join(",") + "\r\n";
    rows.iter().map(line).collect()
}

/// A JSON value as a cell: a text without quotes.
pub(crate) fn cell(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
