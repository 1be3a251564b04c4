//! Writing event files.

use super::histogram::histogram;
use super::hparams;
use super::messages::value::Data;
use super::messages::{Event, Image, SessionLog, SessionStatus, Summary, Value, event::What};
use super::reader::{PREFIX, event_files, scan};
use super::records;
use crate::log::appender::Appender;
use files::FileError;
use prost::Message;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use toml::Value as Field;

/// Of the format; TensorBoard heeds [`SessionStatus::Start`] from this one on.
const VERSION: &str = "brain.Event:2";

/// Writes the events of a run to a directory, which a TensorBoard may be watching.
///
/// Events wait in memory until there are enough of them, or [`EventWriter::flush`] is called, or the
/// writer is dropped, which tells no error. Every error names the file, which then ends with a whole
/// record. Steps must not decrease from call to call, as [`EventWriter::resume`] cuts the file at the
/// first that is beyond its own.
#[derive(Debug)]
pub struct EventWriter {
    log: Appender,
    /// Scalars on their way, kept for its memory.
    scalars: Event,
    /// The steps with scalars that a log that goes on had before, in order, each once.
    before: Vec<usize>,
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
        let mut before = vec![];
        for file in event_files(directory)? {
            // Also where the clock has been set back.
            name = name.max(seconds(&file).map_or(0, |seconds| seconds.saturating_add(1)));
            cut(&file, step, &mut before)?;
        }
        before.sort_unstable();
        before.dedup();
        let mut writer = EventWriter::begin(directory, name, step.map_or(0, |step| step + 1))?;
        writer.before = before;
        Ok(writer)
    }

    /// A new file for what happens from step `first` on.
    fn begin(directory: &Path, seconds: u64, first: usize) -> Result<EventWriter, FileError> {
        // By custom the name ends with that of the machine, which is nobody's business.
        let path = directory.join(format!("{PREFIX}{seconds:010}.bobbin"));
        let log = Appender::create(path)?;
        let mut writer = EventWriter { log, scalars: Event::default(), before: vec![] };
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

    /// Writes a text in Markdown, for the plugin Text.
    pub fn text(&mut self, tag: &str, step: usize, markdown: &str) -> Result<(), FileError> {
        self.values(step, vec![hparams::text(tag, markdown)])
    }

    /// Tells the plugin HParams, at step 0, that a run with these hyperparameters begins.
    pub(crate) fn start_session(
        &mut self,
        hparams: &BTreeMap<String, Field>,
    ) -> Result<(), FileError> {
        self.values(0, vec![hparams::session_start(hparams, wall_time())])
    }

    /// Tells HParams that the run has ended.
    pub(crate) fn end_session(&mut self, step: usize, success: bool) -> Result<(), FileError> {
        self.values(step, vec![hparams::session_end(success, wall_time())])
    }

    /// Hands everything to the system, so that a TensorBoard can read it. To be called before a
    /// checkpoint is written: what a resumed run does not repeat must be in the file.
    pub fn flush(&mut self) -> Result<(), FileError> {
        self.log.flush()
    }

    /// As [`EventWriter::flush`], and waits until everything is on the disk.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.log.sync()
    }

    /// The steps with scalars that were kept by [`EventWriter::resume`], in order, each once; they are told
    /// once.
    pub(crate) fn take_steps_before(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.before)
    }

    /// The file that it writes.
    pub fn path(&self) -> &Path {
        self.log.path()
    }

    fn value(&mut self, tag: &str, step: usize, data: Data) -> Result<(), FileError> {
        self.values(step, vec![Value { tag: tag.into(), metadata: None, data: Some(data) }])
    }

    fn values(&mut self, step: usize, values: Vec<Value>) -> Result<(), FileError> {
        self.write(step, What::Summary(Summary { value: values }))
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
/// does, and it is deleted. Steps with scalars in what is left are added to `kept_steps`.
fn cut(file: &Path, step: Option<usize>, kept_steps: &mut Vec<usize>) -> Result<(), FileError> {
    let is_kept = |event: &Event| match event.what {
        Some(What::FileVersion(_)) => true,
        _ => step.is_some_and(|step| event.step <= step as i64),
    };
    let has_scalar = |event: &Event| match &event.what {
        Some(What::Summary(summary)) => {
            summary.value.iter().any(|value| matches!(value.data, Some(Data::Scalar(_))))
        }
        _ => false,
    };
    let kept = scan(file, |event| {
        let kept = is_kept(&event);
        if kept && has_scalar(&event) && kept_steps.last() != Some(&(event.step as usize)) {
            kept_steps.push(event.step as usize);
        }
        kept
    })?;
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

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
