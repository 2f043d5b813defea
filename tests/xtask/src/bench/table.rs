//! The results as a table with ratios.

use serde_json::Value;

/// What is compared: a name, where to find it, the factor to show it with, and the aim as a ratio.
struct Row {
    name: &'static str,
    path: &'static str,
    scale: f64,
    aim: &'static str,
}

const ROWS: &[Row] = &[
    row("delivered/s, 4 KiB", "/deliver_4096/per_second", 1.0, ">= 5"),
    row("delivered/s, 64 KiB", "/deliver_65536/per_second", 1.0, ">= 3"),
    row("delivered/s, 500 KB", "/deliver_500000/per_second", 1.0, ">= 1.5"),
    row("CPU s per 1,000 delivered, 4 KiB", "/deliver_4096/server/cpu_seconds_per_1000", 1.0, "<= 0.33"),
    row("CPU s per 1,000 delivered, 64 KiB", "/deliver_65536/server/cpu_seconds_per_1000", 1.0, ""),
    row("CPU s per 1,000 delivered, 500 KB", "/deliver_500000/server/cpu_seconds_per_1000", 1.0, ""),
    row("delivery p99 ms, 4 KiB", "/deliver_4096/latency_ms/p99", 1.0, ""),
    row("retrieved/s, 4 KiB", "/retrieve/per_second", 1.0, ">= 1 (high performance)"),
    row("CPU s per 1,000 retrieved", "/retrieve/server/cpu_seconds_per_1000", 1.0, ""),
    row("polls/s", "/poll/per_second", 1.0, ">= 1 (high performance)"),
    row("CPU s per 1,000 polls", "/poll/server/cpu_seconds_per_1000", 1.0, ""),
    row("poll p99 ms", "/poll/latency_ms/p99", 1.0, ""),
    row("KiB an idle connection (PSS)", "/idle/pss_bytes_per_connection", 1.0 / 1024.0, "<= 40 KB"),
    row("MiB with no connection (PSS)", "/idle/without/pss_bytes", 1.0 / 1_048_576.0, ""),
    row("MiB, puro-smtp alone (PSS)", "/front_ends/puro-smtp/pss_bytes", 1.0 / 1_048_576.0, "< 30 MB"),
    row("MiB, puro-pop3 alone (PSS)", "/front_ends/puro-pop3/pss_bytes", 1.0 / 1_048_576.0, "< 30 MB"),
];

const fn row(name: &'static str, path: &'static str, scale: f64, aim: &'static str) -> Row {
    Row { name, path, scale, aim }
}

/// Prints to stdout. The ratio is PuRo's number by the better of the peer's two.
pub(crate) fn print(results: &Value) {
    let machine = &results["machine"];
    println!(
        "\n{} ({} cores), load before: {}",
        machine["cpu"], machine["cores"], machine["load_average_before"]
    );
    println!("Postfix + Dovecot: Maildir, passwords {{PLAIN}}; a message counts when it can be fetched.\n");
    let head = ["", "PuRo", "as installed", "high perf.", "ratio", "aim"];
    line(head.map(str::to_owned));
    line([34, 9, 12, 10, 7, 22].map(|width| "-".repeat(width)));
    for row in ROWS {
        let value = |side: &str| {
            let found = results.pointer(&format!("{side}{}", row.path)).and_then(Value::as_f64);
            found.map(|value| value * row.scale)
        };
        let (puro, installed, fast) =
            (value("/puro"), value("/peer/as_installed"), value("/peer/high_performance"));
        let ratio = match (puro, fast.or(installed)) {
            (Some(puro), Some(peer)) if peer > 0.0 => format!("{:.2}", puro / peer),
            _ => String::new(),
        };
        line([row.name.to_owned(), number(puro), number(installed), number(fast), ratio, row.aim.to_owned()]);
    }
    println!("\nMessages lost, duplicated, corrupted: {}", damage(results));
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn line(cells: [String; 6]) {
    let [name, puro, installed, fast, ratio, aim] = cells;
    println!("| {name:<34} | {puro:>9} | {installed:>12} | {fast:>10} | {ratio:>7} | {aim:<22} |");
}

/// Adds up what the verification of every delivery run found.
fn damage(results: &Value) -> String {
    let sides = [("PuRo", "/puro"), ("Postfix + Dovecot", "/peer/as_installed")];
    let tell = sides.iter().filter_map(|(name, path)| {
        let runs = results.pointer(path)?.as_object()?;
        let sum = |kind: &str| -> usize {
            runs.values().filter_map(|run| run["verified"][kind].as_array()).map(Vec::len).sum()
        };
        let intact: u64 = runs.values().filter_map(|run| run["verified"]["intact"].as_u64()).sum();
        let found = [sum("lost"), sum("duplicated"), sum("corrupted")];
        Some(format!("{name} {found:?} of {}", intact + found.iter().map(|&n| n as u64).sum::<u64>()))
    });
    tell.collect::<Vec<_>>().join("; ")
}
