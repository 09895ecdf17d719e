//! Figures as a table for people and as JSON for programs.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::Result;

/// The figures of one scenario, in the order in which they were added.
pub struct Row {
    name: String,
    figures: Vec<(&'static str, f64)>,
}

impl Row {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), figures: Vec::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.figures.push((name, value));
        self
    }
}

/// The rows of one run.
#[derive(Default)]
pub struct Report(Vec<Row>);

impl Report {
    /// Adds a row, and prints it: a long run shows what it has.
    pub fn add(&mut self, row: Row) {
        let figures: Vec<String> =
            row.figures.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
        println!("{:<34} {}", row.name, figures.join(" · "));
        self.0.push(row);
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let rows: Vec<Value> = self.0.iter().map(Row::json).collect();
        Ok(fs::write(path, serde_json::to_string_pretty(&json!({ "rows": rows }))?)?)
    }
}

impl Row {
    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("scenario".to_owned(), json!(self.name));
        object.extend(self.figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        Value::Object(object)
    }
}

/// Three significant digits, and no fraction where there are more before the point.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
