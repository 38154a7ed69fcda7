//! What the README shows of the examples is what they say.

use std::fs;
use std::path::Path;

use peer_data_server::CloseReason;

/// Without indentation and blank lines.
fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn snippets_are_parts_of_their_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let mut found = 0;
    for part in readme.split("<!-- examples/").skip(1) {
        let (name, rest) = part.split_once(" -->").expect("the name of an example");
        let (_, rest) = rest.split_once("```rust,ignore\n").expect("a snippet");
        let (snippet, _) = rest.split_once("```").expect("its end");
        let example = fs::read_to_string(root.join("examples").join(name)).expect("an example");
        let (snippet, example) = (lines(snippet), lines(&example));
        let mut places = example.windows(snippet.len());
        assert!(
            !snippet.is_empty() && places.any(|lines| lines == snippet),
            "{name} has not:\n{}",
            snippet.join("\n")
        );
        found += 1;
    }
    assert_eq!(
        found, 7,
        "one for each way to mount it, one for who may, and one each for the end and the inspector"
    );
}

#[test]
fn every_variable_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    for variable in peer_data_server::Builder::VARIABLES {
        assert!(readme.contains(variable.name), "{}", variable.name);
        let setting = format!("`{}", variable.setting);
        assert!(readme.contains(&setting), "{}", variable.setting);
    }
}

/// Clients see what is written in the frame, not the names that metrics have.
#[test]
fn reasons_are_told_as_clients_see_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("docs/troubleshoot.md")).expect("the guide");
    for reason in [CloseReason::SlowConsumer, CloseReason::Stalled] {
        assert!(guide.contains(&format!("`{reason}`")), "{reason}");
    }
}

/// The README is the front page of the documentation, which has no files beside it.
#[test]
fn links_to_texts_lead_somewhere_in_the_documentation_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("a text");
    let (readme, front) = (read("README.md"), read("src/lib.rs"));
    assert!(!readme.contains(".md)"), "a link without a name");
    let mut found = 0;
    for line in readme.lines().filter(|line| line.contains("]: ")) {
        let (name, target) = line.split_once("]: ").expect("a link");
        let (file, _) = target.split_once('#').unwrap_or((target, ""));
        let file = root.join(file);
        if file.extension().is_some_and(|kind| kind == "md") {
            assert!(file.exists(), "{line}");
            assert!(front.contains(&format!("//! {name}]: ")), "{line}");
            found += 1;
        }
    }
    assert_eq!(found, 10);
}
