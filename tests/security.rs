//! What SECURITY.md promises is shown by tests that there are.

use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_is_named_is_there() {
    let security = read("SECURITY.md");
    let mut found = 0;
    for cited in quoted(&security) {
        let Some((file, name)) = cited.split_once(".rs: ") else {
            continue;
        };
        let tests = read(&format!("{file}.rs"));
        assert!(tests.contains(&format!("fn {name}(")), "{cited}");
        // A scenario that no macro turns into tests would never run.
        let is_run = tests.contains(&format!("    {name},\n"))
            || tests.contains(&format!("{name});"))
            || tests.contains(&format!("{name}, "))
            || tests.contains(&format!("#[test]\nfn {name}("))
            || tests.contains(&format!("    #[test]\n    fn {name}("))
            || tests.contains(&format!("#[tokio::test]\nasync fn {name}("))
            || tests.contains(&format!("    #[tokio::test]\n    async fn {name}("))
            || tests.contains(&format!("{name}(Host::"));
        assert!(is_run, "{cited} is never run");
        found += 1;
    }
    assert!(found > 30, "{found} tests are named");
}

#[test]
fn every_row_of_the_promises_names_a_test() {
    let security = read("SECURITY.md");
    let (_, rest) = security
        .split_once("## What is promised")
        .expect("promises");
    let (promises, _) = rest.split_once("\n## ").expect("an end");
    let rows = promises
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1);
    for row in rows {
        assert!(row.contains(".rs: "), "{row}");
    }
}

#[test]
fn every_setting_that_is_named_is_there() {
    let security = read("SECURITY.md");
    let variables = peer_data_server::Builder::VARIABLES;
    for cited in quoted(&security).filter(|cited| cited.starts_with("PEER_DATA_")) {
        let name = cited.split('=').next().unwrap_or_default();
        assert!(variables.iter().any(|known| known.name == name), "{cited}");
    }
    assert!(read("README.md").contains("[SECURITY.md]: SECURITY.md"));
}
