//! Data on standard output: a table for a person, tab-separated lines for a pipe, JSON for a program. Talk goes to
//! standard error.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::exit::Fault;

/// Something that is shown as a line of a table, or alone as a list of its fields.
pub(crate) trait Row: Serialize {
    /// Names of the fields, as a heading.
    const HEADINGS: &'static [&'static str];

    /// The fields, in the same order.
    fn cells(&self) -> Vec<String>;
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Table,
    Plain,
}

/// Where data goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output(Form);

impl Output {
    /// Picks the form: what was asked for, or what fits where standard output goes.
    pub(crate) fn new(json: bool) -> Self {
        Self(match (json, io::stdout().is_terminal()) {
            (true, _) => Form::Json,
            (false, true) => Form::Table,
            (false, false) => Form::Plain,
        })
    }

    /// Says whether a person reads along.
    pub(crate) fn is_terminal(self) -> bool {
        self.0 == Form::Table
    }

    /// Says whether a program reads along that asked for JSON.
    pub(crate) fn is_json(self) -> bool {
        self.0 == Form::Json
    }

    /// Writes a list.
    pub(crate) fn rows<T: Row>(self, rows: &[T]) -> Result<(), Fault> {
        if rows.is_empty() && self.0 == Form::Table {
            say(format_args!("There is none."));
            return Ok(());
        }
        print(&match self.0 {
            Form::Json => json(rows)?,
            Form::Table => table(T::HEADINGS, rows.iter().map(Row::cells)),
            Form::Plain => plain(rows.iter().map(Row::cells)),
        })
    }

    /// Writes one thing, a field a line.
    pub(crate) fn record<T: Row>(self, record: &T) -> Result<(), Fault> {
        let fields = T::HEADINGS.iter().map(ToString::to_string).zip(record.cells());
        let pairs = fields.map(|(heading, cell)| vec![heading, cell]);
        print(&match self.0 {
            Form::Json => json(record)?,
            Form::Table => table(&[], pairs),
            Form::Plain => plain(pairs.map(|pair| vec![pair[0].to_lowercase(), pair[1].clone()])),
        })
    }

    /// Writes one value: alone on its line, or `json`.
    pub(crate) fn value(self, text: &str, json_form: &impl Serialize) -> Result<(), Fault> {
        print(&match self.0 {
            Form::Json => json(json_form)?,
            Form::Table | Form::Plain => format!("{}\n", visible(text)),
        })
    }

    /// Writes a text of several lines as it is, or `json`.
    pub(crate) fn report(self, text: &str, json_form: &impl Serialize) -> Result<(), Fault> {
        match self.0 {
            Form::Json => print(&json(json_form)?),
            Form::Table | Form::Plain => print(text),
        }
    }

    /// Writes what a command that changed something has to give back: only to a program that asked for JSON.
    pub(crate) fn changed(self, json_form: &impl Serialize) -> Result<(), Fault> {
        if self.0 == Form::Json { print(&json(json_form)?) } else { Ok(()) }
    }
}

/// Tells a person something, on standard error. Nothing can be done where that fails.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn print(text: &str) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Fault::Stream("output", error))
}

fn json(value: &(impl Serialize + ?Sized)) -> Result<String, Fault> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Fault::System(error.into()))?;
    Ok(text + "\n")
}

fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !headings.is_empty() {
        table.set_header(headings.to_vec());
    }
    for cells in rows {
        table.add_row(cells.iter().map(|cell| visible(cell)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// Fields between tabs, without a heading, so that `cut -f` finds them.
fn plain(rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = String::new();
    for cells in rows {
        let cells: Vec<String> = cells.iter().map(|cell| visible(cell)).collect();
        text.push_str(&cells.join("\t"));
        text.push('\n');
    }
    text
}

/// Writes control characters out: a name may not forge a line, a field or a terminal's escape sequence.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Sample {
        name: &'static str,
        size: u64,
    }

    impl Row for Sample {
        const HEADINGS: &'static [&'static str] = &["NAME", "SIZE"];

        fn cells(&self) -> Vec<String> {
            vec![self.name.to_owned(), self.size.to_string()]
        }
    }

    fn samples() -> [Sample; 2] {
        [Sample { name: "long enough", size: 7 }, Sample { name: "a\tb\n\x1b[2J", size: 12 }]
    }

    #[test]
    fn a_pipe_gets_tabs_and_no_heading() {
        let text = plain(samples().iter().map(Row::cells));
        assert_eq!(text, "long enough\t7\na\\tb\\n\\u{1b}[2J\t12\n");
    }

    #[test]
    fn a_person_gets_columns_under_a_heading() {
        let text = table(Sample::HEADINGS, samples()[..1].iter().map(Row::cells));
        assert_eq!(text, "NAME         SIZE\nlong enough  7\n");
        assert!(!table(&[], samples().iter().map(Row::cells)).contains('\x1b'));
    }

    #[test]
    fn a_program_gets_json() {
        let text = json(&samples()).ok().unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value[1]["name"], "a\tb\n\u{1b}[2J");
        assert_eq!(value[0]["size"], 7);
    }
}
