//! Numbers and texts as a page shows them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Text of others within a page, which it cannot leave.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A name of others: whatever its direction of writing, the text around it keeps its own.
pub(crate) fn name(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(text))
}

/// The address of a PNG file within the page.
pub(crate) fn data_url(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}

/// 44426 as `44,426`.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// 0.9137 as `91.37 %`, which is not broken into lines.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.2}\u{a0}%", 100.0 * part)
}

/// Seconds as `4.81 s`, `3 min 20 s` or `1 h 05 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.2} s"),
        10..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A value at a tick, with as many digits as tell it from the next, a `step` further.
pub(crate) fn si(value: f64, step: f64) -> String {
    let (size, step) = (value.abs(), step.abs());
    let decimals = |step: f64| (-step.log10() - 1e-9).ceil().max(0.0) as usize;
    if value == 0.0 || size < 1e-9 * step {
        return "0".into();
    }
    match step {
        5e11.. => format!("{value:.0e}"),
        5e5.. => format!("{:.*}M", decimals(step / 1e6), value / 1e6),
        5e2.. => format!("{:.*}k", decimals(step / 1e3), value / 1e3),
        1e-3.. => format!("{value:.*}", decimals(step)),
        _ => {
            let digits = (size.log10().floor() - step.log10().floor()).clamp(0.0, 8.0) as usize;
            format!("{value:.digits$e}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("<script>'&\"\u{0}\n"), "&lt;script&gt;&#39;&amp;&quot;\u{fffd}\n");
        assert_eq!(name("a<b"), "<bdi>a&lt;b</bdi>");
    }

    #[test]
    fn numbers_are_readable() {
        let numbers = [0, 999, 1000, 44426, 1234567].map(thousands);
        assert_eq!(numbers, ["0", "999", "1,000", "44,426", "1,234,567"]);
        let times = [0.512, 12.04, 59.96, 200.4, 3900.0].map(duration);
        assert_eq!(times, ["0.51 s", "12.0 s", "1 min 00 s", "3 min 20 s", "1 h 05 min"]);
        assert_eq!(percent(0.91371), "91.37\u{a0}%");
        assert_eq!(si(0.30000000000000004, 0.1), "0.3");
        assert_eq!([si(2e5, 5e4), si(2.5e6, 5e5), si(1500.0, 500.0)], ["200k", "2.5M", "1.5k"]);
        assert_eq!([si(4e-4, 1e-4), si(1.2e-4, 2e-5)], ["4e-4", "1.2e-4"]);
    }
}
