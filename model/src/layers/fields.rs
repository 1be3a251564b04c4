//! Layers to tables: what has its default is left out.

use super::Layer;
use kernels::Window;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// The fields of a layer that are written.
#[derive(Default)]
pub(crate) struct Fields(Vec<(&'static str, Field)>);

enum Field {
    Whole(usize),
    Wholes(Vec<usize>),
    Decimal(f64),
    Switch(bool),
    Text(String),
    Texts(Vec<String>),
    Layers(Vec<Layer>),
}

impl Fields {
    pub fn whole(&mut self, field: &'static str, value: usize) {
        self.0.push((field, Field::Whole(value)));
    }

    /// One number where both are the same.
    pub fn pair(&mut self, field: &'static str, value: [usize; 2]) {
        let [rows, columns] = value;
        let both = if rows == columns { Field::Whole(rows) } else { Field::Wholes(value.to_vec()) };
        self.0.push((field, both));
    }

    pub fn wholes(&mut self, field: &'static str, values: &[usize]) {
        self.0.push((field, Field::Wholes(values.to_vec())));
    }

    /// The shortest decimal that is this number in 32 bits: 0.1, not 0.10000000149.
    pub fn decimal(&mut self, field: &'static str, value: f32) {
        let decimal = value.to_string().parse().unwrap_or(f64::from(value));
        self.0.push((field, Field::Decimal(decimal)));
    }

    pub fn switch(&mut self, field: &'static str, value: bool) {
        self.0.push((field, Field::Switch(value)));
    }

    pub fn text(&mut self, field: &'static str, value: &str) {
        self.0.push((field, Field::Text(value.to_owned())));
    }

    pub fn layers(&mut self, field: &'static str, value: &[Layer]) {
        self.0.push((field, Field::Layers(value.to_vec())));
    }

    /// A window, whose stride is `stride` by default; its padding is written by `padding`.
    pub fn window(
        &mut self,
        window: &Window,
        stride: [usize; 2],
        padding: impl FnOnce(&mut Fields),
    ) {
        self.pair("kernel", window.kernel);
        self.pair_unless("stride", window.stride, stride);
        padding(self);
        self.pair_unless("dilation", window.dilation, [1, 1]);
    }

    /// [`Fields::pair`], unless it is the default.
    pub fn pair_unless(&mut self, field: &'static str, value: [usize; 2], default: [usize; 2]) {
        if value != default {
            self.pair(field, value);
        }
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Field::Whole(value) => value.serialize(serializer),
            Field::Wholes(value) => value.serialize(serializer),
            Field::Decimal(value) => value.serialize(serializer),
            Field::Switch(value) => value.serialize(serializer),
            Field::Text(value) => value.serialize(serializer),
            Field::Texts(value) => value.serialize(serializer),
            Field::Layers(value) => List(value).serialize(serializer),
        }
    }
}

/// A list of layers as it is written.
pub(crate) struct List<'a>(pub &'a [Layer]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        self.0.iter().try_for_each(|layer| list.serialize_element(&Written(layer)))?;
        list.end()
    }
}

struct Written<'a>(&'a Layer);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Layer { name, from, kind } = self.0;
        let mut fields = Fields::default();
        if let Some(name) = name {
            fields.text("name", name);
        }
        match &from[..] {
            [] => {}
            [one] => fields.text("from", one),
            several => fields.0.push(("from", Field::Texts(several.to_vec()))),
        }
        kind.written().write(&mut fields);
        let mut table = serializer.serialize_map(None)?;
        table.serialize_entry("kind", kind.written().word())?;
        fields.0.iter().try_for_each(|(field, value)| table.serialize_entry(field, value))?;
        table.end()
    }
}
