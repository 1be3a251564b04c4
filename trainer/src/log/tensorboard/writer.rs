//! Writing event files.

use super::histogram::histogram;
use super::messages::value::Data;
use super::messages::{Event, Image, SessionLog, SessionStatus, Summary, Value, event::What};
use super::reader::{PREFIX, event_files, scan};
use super::records;
use crate::log::appender::Appender;
use model::FileError;
use prost::Message;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Of the format; TensorBoard heeds [`SessionStatus::Start`] from this one on.
const VERSION: &str = "brain.Event:2";

/// Writes the events of a run to a directory, which a TensorBoard may be watching.
///
/// Events wait in memory until there are enough of them, or [`EventWriter::flush`] is called, or the
/// writer is dropped, which tells no error. Every error names the file, which then ends with a whole
/// record. Steps must not decrease from call to call, as [`EventWriter::resume`] cuts the file at the
/// first that is beyond its own.
pub struct EventWriter {
    log: Appender,
    /// Scalars on their way, kept for its memory.
    scalars: Event,
}

impl EventWriter {
    /// A new log. The directory is made if there is none; event files that are in it belong to an
    /// older run, and are emptied.
    pub fn create(directory: &Path) -> Result<EventWriter, FileError> {
        EventWriter::after(directory, None)
    }

    /// Goes on after this step, at which the run was interrupted or its last checkpoint was written:
    /// what the event files of the directory say of later steps is cut off, and so is a record that
    /// is not whole. What follows goes to a new file, whose first event makes a TensorBoard that has
    /// read the lost steps forget them.
    pub fn resume(directory: &Path, step: usize) -> Result<EventWriter, FileError> {
        EventWriter::after(directory, Some(step))
    }

    fn after(directory: &Path, step: Option<usize>) -> Result<EventWriter, FileError> {
        make(directory)?;
        let mut name = wall_time() as u64;
        for file in event_files(directory)? {
            // Also where the clock has been set back.
            name = name.max(seconds(&file).map_or(0, |seconds| seconds.saturating_add(1)));
            cut(&file, step)?;
        }
        EventWriter::begin(directory, name, step.map_or(0, |step| step + 1))
    }

    /// A new file for what happens from step `first` on.
    fn begin(directory: &Path, seconds: u64, first: usize) -> Result<EventWriter, FileError> {
        let path = directory.join(format!("{PREFIX}{seconds:010}.{}", host()));
        let log = Appender::create(path)?;
        let mut writer = EventWriter { log, scalars: Event::default() };
        let start = SessionLog { status: SessionStatus::Start.into() };
        writer.write(0, What::FileVersion(VERSION.into()))?;
        writer.write(first, What::SessionLog(start))?;
        writer.flush()?;
        Ok(writer)
    }

    /// Writes values under their tags, as one event: `wall_time` in seconds since 1970. Called with as
    /// many values each time, and tags no longer than those before, it allocates nothing.
    pub fn scalars(
        &mut self,
        step: usize,
        wall_time: f64,
        values: &[(&str, f32)],
    ) -> Result<(), FileError> {
        let event = &mut self.scalars;
        (event.wall_time, event.step) = (wall_time, step as i64);
        if !matches!(event.what, Some(What::Summary(_))) {
            event.what = Some(What::Summary(Summary::default()));
        }
        if let Some(What::Summary(summary)) = &mut event.what {
            summary.value.resize_with(values.len(), Value::default);
            for (value, (tag, scalar)) in summary.value.iter_mut().zip(values) {
                value.tag.clear();
                value.tag.push_str(tag);
                value.data = Some(Data::Scalar(*scalar));
            }
        }
        append(&mut self.log, event)
    }

    /// Writes how values are distributed; those that are not finite are left out.
    pub fn histogram(&mut self, tag: &str, step: usize, values: &[f32]) -> Result<(), FileError> {
        self.value(tag, step, Data::Histogram(histogram(values)))
    }

    /// Writes a picture, a PNG file of this many rows, columns and channels (1 is grey, 3 is RGB, 4
    /// is RGBA).
    pub fn image(
        &mut self,
        tag: &str,
        step: usize,
        png: &[u8],
        [height, width, channels]: [usize; 3],
    ) -> Result<(), FileError> {
        let [height, width, colorspace] = [height, width, channels].map(|size| size as i32);
        let image = Image { height, width, colorspace, encoded: png.to_vec() };
        self.value(tag, step, Data::Image(image))
    }

    /// Hands everything to the system, so that a TensorBoard can read it. To be called before a
    /// checkpoint is written: what a resumed run does not repeat must be in the file.
    pub fn flush(&mut self) -> Result<(), FileError> {
        self.log.flush()
    }

    /// The file that it writes.
    pub fn path(&self) -> &Path {
        self.log.path()
    }

    fn value(&mut self, tag: &str, step: usize, data: Data) -> Result<(), FileError> {
        let value = Value { tag: tag.into(), data: Some(data) };
        self.write(step, What::Summary(Summary { value: vec![value] }))
    }

    fn write(&mut self, step: usize, what: What) -> Result<(), FileError> {
        let event = Event { wall_time: wall_time(), step: step as i64, what: Some(what) };
        append(&mut self.log, &event)
    }
}

fn append(log: &mut Appender, event: &Event) -> Result<(), FileError> {
    log.append(|out| records::append(out, |out| event.encode(out).expect("a vector grows")))
}

/// Cuts a file where it goes beyond this step, or after the version of its format. What is left of it
/// then stays, as a TensorBoard that is reading it would wait for it for ever; the next time nobody
/// does, and it is deleted.
fn cut(file: &Path, step: Option<usize>) -> Result<(), FileError> {
    let is_kept = |event: &Event| match event.what {
        Some(What::FileVersion(_)) => true,
        _ => step.is_some_and(|step| event.step <= step as i64),
    };
    let kept = scan(file, |event| is_kept(&event))?;
    let cannot = |action| move |error| FileError::Io { path: file.into(), action, error };
    let length = fs::metadata(file).map_err(cannot("read"))?.len();
    if kept.events <= 1 && kept.bytes == length {
        return fs::remove_file(file).map_err(cannot("delete"));
    }
    let cut = || OpenOptions::new().write(true).open(file)?.set_len(kept.bytes);
    cut().map_err(cannot("cut"))
}

fn make(directory: &Path) -> Result<(), FileError> {
    let cannot = |error| FileError::Io { path: directory.into(), action: "make", error };
    fs::create_dir_all(directory).map_err(cannot)
}

/// Seconds since 1970 in the name of an event file.
fn seconds(file: &Path) -> Option<u64> {
    let name = file.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    name.split('.').next()?.parse().ok()
}

/// Seconds since 1970.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The name of the machine, as far as it fits a file name: by custom the last part of the name of
/// an event file.
fn host() -> String {
    let of_system = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = of_system.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let fits = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let name: String = name.chars().filter(fits).take(64).collect();
    if name.is_empty() { "localhost".into() } else { name }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
