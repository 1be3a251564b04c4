//! A run in a terminal.

use super::{Line, RunDisplay, Step, Trainer, introduction, validation};
use crate::cli::say;
use console::Term;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};
use tracking::metrics::{Epoch, Start, Validation};

/// How often the bar tells of loss and speed.
const LOOK: Duration = Duration::from_millis(100);

/// The bar takes the room that a line has left.
const BAR: &str = "{prefix:>7}  {wide_bar} {percent:>3} %  {msg}";

/// In the place of a bar, in a narrow terminal; what does not fit is cut off.
const NARROW_BAR: &str = "{prefix:>7}  {percent:>3} %  {wide_msg}";

/// The width of a row. In a narrower terminal it is without its last two columns.
const ROW: u16 = 66;

/// The width of a row without its last two columns. In a narrower terminal the column of the validation loss
/// has a shorter heading, and the row 39 characters.
const SHORT_ROW: u16 = 46;

const VALIDATION_LOSS: [&str; 2] = ["validation loss", "val loss"];

/// A row per epoch under a heading, and a bar for the epoch under way, which is gone when it ends.
pub struct Terminal {
    epochs: usize,
    /// Whether rows have columns about validation.
    validates: bool,
    /// Whether there is no room for rows.
    narrow: bool,
    /// The heading of the column of the validation loss.
    validation_loss: &'static str,
    bar: ProgressBar,
    validation: Option<Validation>,
    /// Since the last look.
    looked: Instant,
    images: usize,
    time: Duration,
}

impl Default for Terminal {
    fn default() -> Terminal {
        let width = Term::stdout().size().1;
        Terminal {
            epochs: 0,
            validates: false,
            narrow: width < ROW,
            validation_loss: VALIDATION_LOSS[usize::from(width < SHORT_ROW)],
            bar: ProgressBar::hidden(),
            validation: None,
            looked: Instant::now(),
            images: 0,
            time: Duration::ZERO,
        }
    }
}

impl RunDisplay for Terminal {
    fn line(&mut self, line: &Line) {
        let pending = self.validation.take();
        let of_this_epoch =
            |found: &Validation| matches!(line, Line::Epoch(epoch) if epoch.step == found.step);
        if let Some(found) = pending.filter(|found| !of_this_epoch(found)) {
            self.bar.suspend(|| say(&validation(&found)));
        }
        match line {
            Line::Start(start) => self.start(start),
            Line::Validation(found) => self.validation = Some(found.clone()),
            Line::Epoch(epoch) => {
                self.bar.finish_and_clear();
                say(&self.row(epoch));
                self.bar = ProgressBar::hidden();
            }
            Line::End(end) => {
                self.bar.finish_and_clear();
                if let Some(model) = &end.model {
                    say(&format!("{}\nmodel: {model}", end.reason));
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, trainer: &Trainer<'_>, step: &Step) {
        self.images += step.images;
        self.time += step.time;
        if self.looked.elapsed() < LOOK {
            return;
        }
        let progress = trainer.progress();
        let speed = self.images as f64 / self.time.as_secs_f64();
        let loss = step.loss / step.images as f64;
        let left = (trainer.training_images() - progress.images) as f64 / speed;
        let left = HumanDuration(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX));
        let speed = HumanCount(speed as u64);
        let message = match self.narrow {
            true => format!("loss {loss:.4}  {left:#} left"),
            false => format!("loss {loss:.4}  {speed} images/s  {left:#} left"),
        };
        // The message is set last, as that is what draws.
        let fresh = self.bar.is_hidden();
        if fresh {
            self.bar = bar(trainer.steps_per_epoch(), self.narrow);
            self.bar.set_prefix(format!("{}/{}", progress.epoch + 1, self.epochs));
        }
        self.bar.set_position(progress.batch as u64);
        if fresh {
            self.bar.set_draw_target(ProgressDrawTarget::stdout());
        }
        self.bar.set_message(message);
        (self.images, self.time, self.looked) = (0, Duration::ZERO, Instant::now());
    }
}

/// A bar that is not drawn yet.
fn bar(steps: usize, narrow: bool) -> ProgressBar {
    let template = if narrow { NARROW_BAR } else { BAR };
    let style =
        ProgressStyle::with_template(template).expect("a template that is known to be right");
    let style = style.progress_chars("█▉▊▋▌▍▎▏ ");
    ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::hidden())
        .with_style(style)
}

impl Terminal {
    fn start(&mut self, start: &Start) {
        self.epochs = start.epochs;
        say(&introduction(start));
        self.validates = start.validation_images > 0;
        let columns = match self.validates {
            true => format!("  {}     top-1", self.validation_loss),
            false => String::new(),
        };
        let heading = format!("\n{:>7}  train loss{columns}", "epoch");
        say(&match self.narrow {
            true => heading,
            false => heading + &format!("  {:>9}  {:>8}", "images/s", "time"),
        });
    }

    fn row(&self, epoch: &Epoch) -> String {
        let number = format!("{}/{}", epoch.epoch, self.epochs);
        let mut row = format!("{number:>7}  {:>10.4}", epoch.loss);
        let width = self.validation_loss.len();
        match (epoch.validation_loss, epoch.top1) {
            (Some(loss), Some(top1)) => {
                row += &format!("  {loss:>width$.4}  {:>6.2} %", 100.0 * top1);
            }
            _ if self.validates => row += &format!("  {:>width$}  {:>8}", "–", "–"),
            _ => {}
        }
        if self.narrow {
            return row;
        }
        let speed = HumanCount(epoch.images_per_second as u64).to_string();
        row + &format!("  {speed:>9}  {:>6.2} s", epoch.seconds)
    }
}
