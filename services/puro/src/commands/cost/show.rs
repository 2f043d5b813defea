//! The bill for a person: a table beside the slide's lines, what the slide left out, and what each line rests on.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::bill::{Bill, Line};

/// Returns the text of bills that have the same lines; of a single one with the parts of each line.
pub(super) fn text(bills: &[Bill], dates: &(String, String)) -> String {
    let mut text = format!(
        "US dollars a month (30 days), prices of {} to {}. Not in the total: what the slide left out.\n\n",
        dates.0, dates.1
    );
    text.push_str(&lines(bills));
    if let [bill] = bills {
        let _ = write!(text, "\n{}", parts(bill));
    }
    text.push_str(&assumptions(bills));
    text
}

/// Returns what all of these bills rest on.
fn assumptions(bills: &[Bill]) -> String {
    let Some((first, others)) = bills.split_first() else { return String::new() };
    let all = |bill: &Bill| -> Vec<(&'static str, String)> {
        let lines = bill.lines.iter().chain(&bill.left_out);
        lines.flat_map(|line| line.rests_on.iter().map(|text| (line.name, text.clone()))).collect()
    };
    let others: Vec<Vec<(&str, String)>> = others.iter().map(all).collect();
    let mut text = "\nWhat it rests on:\n".to_owned();
    for assumption in all(first).iter().filter(|one| others.iter().all(|other| other.contains(one))) {
        let _ = writeln!(text, "  {}: {}", assumption.0, assumption.1);
    }
    if !others.is_empty() {
        text.push_str("What each profile rests on besides, and the parts of each line: --profile NAME.\n");
    }
    text
}

fn lines(bills: &[Bill]) -> String {
    let mut table = plain_table();
    let names = bills.iter().map(|bill| bill.name.clone());
    table.set_header(["".to_owned(), "2013".to_owned()].into_iter().chain(names).collect::<Vec<_>>());
    let Some(first) = bills.first() else { return String::new() };
    let row = |of: fn(&Bill) -> &Vec<Line>, index: usize| {
        bills.iter().map(move |bill| of(bill).get(index).map_or_else(String::new, |line| dollars(line.usd)))
    };
    for (index, line) in first.lines.iter().enumerate() {
        let slide = line.slide_usd.map_or_else(String::new, dollars);
        table.add_row([line.name.to_owned(), slide].into_iter().chain(row(|bill| &bill.lines, index)));
    }
    let totals = bills.iter().map(|bill| dollars(bill.total_usd));
    let slide = dollars(first.slide_total_usd);
    table.add_row(["total".to_owned(), slide].into_iter().chain(totals));
    for (index, variant) in first.variants.iter().enumerate() {
        let each = bills.iter().map(|bill| bill.variants.get(index));
        let each = each.map(|variant| variant.map_or_else(String::new, |variant| dollars(variant.total_usd)));
        table.add_row([format!("  {}", variant.name), String::new()].into_iter().chain(each));
    }
    table.add_row(["left out by the slide:".to_owned()]);
    for (index, line) in first.left_out.iter().enumerate() {
        let name = [format!("  {}", line.name), String::new()];
        table.add_row(name.into_iter().chain(row(|bill| &bill.left_out, index)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    rendered(&mut table)
}

fn parts(bill: &Bill) -> String {
    let mut table = plain_table();
    table.set_header(["", "", "a month", "", "$"]);
    for line in bill.lines.iter().chain(&bill.left_out) {
        for part in &line.parts {
            table.add_row([
                line.name.to_owned(),
                part.what.clone(),
                quantity(part.quantity),
                part.unit.clone(),
                dollars(part.usd),
            ]);
        }
    }
    for index in [2, 4] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    rendered(&mut table)
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn rendered(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

fn dollars(usd: f64) -> String {
    format!("{usd:.2}")
}

/// Returns a number as people read it: 12.3 M, 45.6 k, 7.8.
fn quantity(number: f64) -> String {
    match number {
        million if million >= 1e6 => format!("{:.1} M", million / 1e6),
        thousand if thousand >= 1e4 => format!("{:.1} k", thousand / 1e3),
        _ => format!("{number:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [(12_345_678.0, "12.3 M"), (45_600.0, "45.6 k"), (1_440.0, "1440.0"), (0.5, "0.5")];
        for (number, text) in cases {
            assert_eq!(quantity(number), text);
        }
    }
}
