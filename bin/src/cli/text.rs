//! Values of flags: text for which a shell has suggestions, and numbers within limits.

use super::printable;
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{Error, ErrorKind};
use clap::{Arg, Command};
use std::ffi::OsStr;
use std::ops::RangeInclusive;

/// Text that is read elsewhere. A shell completes these values; others may be meant all the same.
#[derive(Clone)]
pub struct Text(Vec<&'static str>);

/// Text without suggestions.
pub fn text() -> Text {
    Text(vec![])
}

/// Text that a shell completes to one of these.
pub fn one_of(suggestions: impl IntoIterator<Item = &'static str>) -> Text {
    Text(suggestions.into_iter().collect())
}

impl TypedValueParser for Text {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, Error> {
        value.to_str().map(str::to_owned).ok_or_else(|| {
            let flag = argument.and_then(Arg::get_long).unwrap_or_default();
            let found = printable(&value.display().to_string());
            let problem = format!("--{flag}: found `{found}`: expected text in UTF-8\n");
            Error::raw(ErrorKind::InvalidUtf8, problem).with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = self.0.iter().map(PossibleValue::new);
        (!self.0.is_empty()).then(|| Box::new(values) as Box<dyn Iterator<Item = PossibleValue>>)
    }
}

/// A whole number within these limits.
pub fn number(limits: RangeInclusive<u32>) -> impl TypedValueParser<Value = u32> {
    move |text: &str| {
        let (least, most) = (limits.start(), limits.end());
        let number = text.parse().ok().filter(|number| limits.contains(number));
        number.ok_or_else(|| match *most {
            u32::MAX => format!("expected a whole number from {least}"),
            most => format!("expected a whole number from {least} to {most}"),
        })
    }
}
