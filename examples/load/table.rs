//! Results side by side, as tables of markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::Failure;

/// Each figure that makes a table, and its title.
const FIGURES: [(&str, &str); 6] = [
    ("cpu_us_per_delivery", "Server CPU, µs for each delivery"),
    (
        "bus_cpu_us_per_delivery",
        "CPU of the bus, µs for each delivery",
    ),
    ("per_second", "Deliveries a second"),
    ("p99_us", "Latency, p99, µs"),
    (
        "cpu_us_per_connection",
        "Server CPU, µs for each connection",
    ),
    (
        "rss_kb_per_connection",
        "Resident memory, KB for each connection",
    ),
];

/// Prints the median of all runs that were alike: a row for each load, a column for each server.
pub(crate) fn print(files: &[String]) -> Result<(), Failure> {
    let mut runs = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        for line in text.lines() {
            runs.push(serde_json::from_str::<Value>(line)?);
        }
    }
    let servers: BTreeSet<_> = runs.iter().map(|run| text(run, "server")).collect();
    for (figure, title) in FIGURES {
        let rows = rows(&runs, figure);
        if rows.is_empty() {
            continue;
        }
        println!("{title}:\n");
        let names: Vec<_> = servers.iter().copied().collect();
        println!("| | {} |", names.join(" | "));
        println!("|---|{}", "--:|".repeat(names.len()));
        for (load, row) in rows {
            let cells = names.iter().map(|server| {
                let median = row.get(server).and_then(|figures| median(figures));
                median.map_or_else(|| "-".to_owned(), |median| median.to_string())
            });
            println!("| {load} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        println!();
    }
    Ok(())
}

type Rows<'a> = BTreeMap<String, BTreeMap<&'a str, Vec<f64>>>;

fn rows<'a>(runs: &'a [Value], figure: &str) -> Rows<'a> {
    let mut rows = Rows::new();
    for run in runs {
        if let Some(number) = run[figure].as_f64() {
            let names = ["workload", "wire", "size"].map(|name| text(run, name));
            let row = rows.entry(names.join(", ")).or_default();
            row.entry(text(run, "server")).or_default().push(number);
        }
    }
    rows
}

fn text<'a>(run: &'a Value, name: &str) -> &'a str {
    run[name].as_str().unwrap_or_default()
}

/// Of an even number, the upper of the two in the middle.
fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_for_each_load_and_a_median_for_each_server() {
        let run = |server: &str, wire: &str, cpu: f64| {
            json!({"server": server, "workload": "relay", "wire": wire, "size": "1 pair",
                "cpu_us_per_delivery": cpu})
        };
        let runs = [
            run("a", "json", 3.0),
            run("a", "json", 1.0),
            run("a", "json", 2.0),
            run("b", "json", 4.0),
            run("a", "eio4", 5.0),
        ];
        let rows = rows(&runs, "cpu_us_per_delivery");
        let loads: Vec<_> = rows.keys().collect();
        assert_eq!(loads, ["relay, eio4, 1 pair", "relay, json, 1 pair"]);
        let json = &rows["relay, json, 1 pair"];
        assert_eq!(median(&json["a"]), Some(2.0));
        assert_eq!(median(&json["b"]), Some(4.0));
        assert!(super::rows(&runs, "per_second").is_empty());
    }
}
