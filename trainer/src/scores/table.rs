//! Scores as text.

use super::{Metrics, Scores};
use std::fmt::{self, Display, Formatter};

/// Columns that a confusion matrix may take.
const WIDTH: usize = 100;
/// Letters of a class name that are shown.
const NAME: usize = 20;
/// Confusions that are listed where the matrix is too wide.
const CONFUSIONS: usize = 15;

/// Two lines of totals, the classes, their confusions, and the mistakes that there are. What is
/// undefined is –.
impl Display for Scores {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (loss, top1) = (self.loss, 100.0 * self.top1);
        let found = if self.top5.is_some() { "top-1" } else { "all labels right" };
        write!(f, "{} images  loss {loss:.4}  {found} {top1:.2} %", self.images)?;
        // Of five classes or fewer it is always 100 %.
        if let Some(top5) = self.top5.filter(|_| self.classes.len() > 5) {
            write!(f, "  top-5 {:.2} %", 100.0 * top5)?;
        }
        let Metrics { balanced_accuracy, macro_f1, auc, ece, .. } = self.metrics;
        let balanced = 100.0 * balanced_accuracy;
        write!(f, "\nbalanced accuracy {balanced:.2} %  macro F1 {macro_f1:.4}")?;
        if let Some(auc) = auc {
            write!(f, "  AUC {auc:.4}")?;
        }
        writeln!(f, "  calibration error {ece:.4}")?;
        let names: Vec<String> = self.classes.iter().map(|class| shown(&class.name)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        self.table(f, &names, width)?;
        if self.confusion.is_empty() {
            return Ok(());
        }
        let number = self.classes.len().saturating_sub(1).to_string().len();
        let largest = self.confusion.iter().flatten().max().map_or(1, |n| n.to_string().len());
        let cell = largest.max(number) + 2;
        if number + 1 + width + cell * self.classes.len() <= WIDTH {
            self.matrix(f, &names, width, cell)?;
        } else {
            self.confusions(f, &names)?;
        }
        if !self.mistakes.is_empty() {
            write!(f, "\n\nthe surest mistakes:")?;
        }
        for mistake in &self.mistakes {
            let (label, predicted) = (&names[mistake.label], &names[mistake.predicted]);
            let probability = 100.0 * mistake.probability;
            write!(f, "\n  image {}", mistake.image)?;
            if let Some(name) = &mistake.name {
                write!(f, " ({})", name.replace(char::is_control, "?"))?;
            }
            write!(f, ": {label}, ")?;
            write!(f, "taken for {predicted} ({probability:.2} %)")?;
        }
        Ok(())
    }
}

impl Scores {
    fn table(&self, f: &mut Formatter<'_>, names: &[String], width: usize) -> fmt::Result {
        let width = width.max("class".len());
        let figure = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.4}"));
        let has_auc = self.classes.iter().any(|class| class.auc.is_some());
        let auc = if has_auc { "     auc" } else { "" };
        write!(f, "\n{:width$}  precision  recall      f1{auc}  images", "class")?;
        for (class, name) in self.classes.iter().zip(names) {
            let [precision, recall, f1] = [class.precision, class.recall, class.f1].map(figure);
            write!(f, "\n{name:width$}  {precision:>9}  {recall:>6}  {f1:>6}  ")?;
            if has_auc {
                write!(f, "{:>6}  ", figure(class.auc))?;
            }
            write!(f, "{:>6}", class.support)?;
        }
        if self.confusion.is_empty() { Ok(()) } else { writeln!(f) }
    }

    /// Each cell `cell` wide, the columns by the number of their class.
    fn matrix(
        &self,
        f: &mut Formatter<'_>,
        names: &[String],
        width: usize,
        cell: usize,
    ) -> fmt::Result {
        let number = (names.len() - 1).to_string().len();
        write!(f, "\nconfusion: a row is a class, its columns what it was taken for\n")?;
        write!(f, "{:width$}", "", width = number + 1 + width)?;
        for class in 0..names.len() {
            write!(f, "{class:>cell$}")?;
        }
        for (class, name) in names.iter().enumerate() {
            write!(f, "\n{class:number$} {name:width$}")?;
            for count in &self.confusion[class] {
                match count {
                    0 => write!(f, "{:>cell$}", "·")?,
                    count => write!(f, "{count:>cell$}")?,
                }
            }
        }
        Ok(())
    }

    fn confusions(&self, f: &mut Formatter<'_>, names: &[String]) -> fmt::Result {
        let mut pairs = vec![];
        for (label, row) in self.confusion.iter().enumerate() {
            let wrong = row.iter().enumerate().filter(|&(other, &n)| other != label && n > 0);
            pairs.extend(wrong.map(|(other, &n)| (n, label, other)));
        }
        pairs.sort_by_key(|&(n, label, other)| (usize::MAX - n, label, other));
        write!(f, "\nconfusion: {} pairs of classes, the most frequent first", pairs.len())?;
        for &(count, label, other) in pairs.iter().take(CONFUSIONS) {
            let part = 100.0 * count as f64 / self.classes[label].support as f64;
            write!(f, "\n{count:>6}  {} taken for {}", names[label], names[other])?;
            write!(f, " ({part:.1} % of its images)")?;
        }
        Ok(())
    }
}

/// A name short enough for a table, on one line.
fn shown(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    match name.char_indices().nth(NAME) {
        None => name,
        Some(_) => name.chars().take(NAME - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::scores::{ClassScores, Metrics, Mistake, Scores};

    fn scores(confusion: Vec<Vec<usize>>, names: &[&str]) -> Scores {
        let classes = names.iter().zip(&confusion).map(|(name, row)| ClassScores {
            name: name.to_string(),
            precision: None,
            recall: Some(0.5),
            f1: Some(2.0 / 3.0),
            support: row.iter().sum(),
            auc: None,
        });
        Scores {
            images: confusion.iter().flatten().sum(),
            loss: 0.25,
            top1: 0.5,
            top5: Some(1.0),
            metrics: Metrics {
                balanced_accuracy: 1.0 / 6.0,
                macro_f1: 0.05,
                auc: (names.len() == 2).then_some(0.25),
                ece: 0.125,
                collapsed: None,
            },
            ranks: vec![],
            classes: classes.collect(),
            mistakes: vec![Mistake {
                image: 3,
                name: Some("b/3\u{1b}.png".into()),
                label: 1,
                predicted: 0,
                probability: 0.98765,
            }],
            confusion,
        }
    }

    #[test]
    fn a_small_table() {
        let text = scores(vec![vec![1, 2], vec![30, 0]], &["T-shirt/top", "a\u{1b}[1m"]);
        let expected = "\
33 images  loss 0.2500  top-1 50.00 %
balanced accuracy 16.67 %  macro F1 0.0500  AUC 0.2500  calibration error 0.1250

class        precision  recall      f1  images
T-shirt/top          –  0.5000  0.6667       3
a?[1m                –  0.5000  0.6667      30

confusion: a row is a class, its columns what it was taken for
                0   1
0 T-shirt/top   1   2
1 a?[1m        30   ·

the surest mistakes:
  image 3 (b/3?.png): a?[1m, taken for T-shirt/top (98.77 %)";
        assert_eq!(text.to_string(), expected);
    }

    /// Ten classes of a thousand images fit a screen as a matrix; more are a list.
    #[test]
    fn what_is_too_wide_is_listed() {
        for (count, matrix) in [(10, true), (100, false), (256, false)] {
            let mut confusion = vec![vec![1; count]; count];
            (0..count).for_each(|class| confusion[class][class] = 10_000);
            confusion[3][7] = 40;
            let name = "a name of very many letters";
            let text = scores(confusion, &vec![name; count]).to_string();
            assert_eq!(text.contains("a row is a class"), matrix);
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
            assert!(text.contains("a name of very many…"), "{text}");
            assert!(text.lines().next().unwrap().ends_with("top-5 100.00 %"), "{text}");
            if !matrix {
                let first = "     1  a name of very many… taken for";
                assert!(text.contains("pairs of classes, the most frequent first\n    40  "));
                assert_eq!(text.matches(first).count(), 14, "{text}");
            }
        }
    }
}
