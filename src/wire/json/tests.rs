use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn read(text: &str) -> Result<(), Fault> {
    let mut json = Reader::new(text);
    json.skip(MAX_DEPTH)?;
    json.finish()
}

/// Nearly JSON: its parts, put together with little care.
fn nearly_json() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        " ",
        "\n",
        "\t",
        "\r",
        "\u{b}",
        "\u{a0}",
        "\u{1f}",
        "\u{7f}",
        "null",
        "true",
        "false",
        "nul",
        "0",
        "01",
        "-",
        "-0",
        "12",
        "1.5",
        "1.",
        ".5",
        "1e5",
        "1E+5",
        "1e",
        "1e999",
        "+1",
        "NaN",
        "\"a\"",
        "\"\"",
        "\"a\":",
        "\"\\n\"",
        "\"\\u00e9\"",
        "\"\\ud800\"",
        "\"\\u12\"",
        "\"\\x\"",
        "\"\\",
        "\"\t\"",
        "\"é\u{1f600}\"",
        "[]",
        "{}",
        "[1,2]",
        "{\"a\":1}",
        "{\"a\":[{}]}",
        "[,]",
        "[1,]",
        "{\"a\":1,}",
        "\u{feff}",
    ]);
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

/// Well-formed JSON with whitespace wherever it may stand.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "null|true|false|-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        "\"([a-z é☃\u{7f}]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,40}\"",
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let name = "[ \n]?\"([a-z]|\\\\u00[0-7][0-9a-f]){0,3}\"[ \t]?:[ \r]?";
        let members = prop::collection::vec((name, inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|v| format!("[ {}\t]", v.join(" , "))),
            members.prop_map(|m| {
                let members: Vec<_> = m.into_iter().map(|(n, v)| n + &v).collect();
                format!("{{{}\n}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn well_formed_text_is_taken_whole(text in json()) {
        prop_assert_eq!(read(&text), Ok(()));
        prop_assert_eq!(Reader::new(&text).skip(MAX_DEPTH), Ok(0..text.len()));
    }

    #[test]
    fn serde_json_takes_and_refuses_the_same(text in nearly_json()) {
        prop_assert_eq!(read(&text).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok());
    }

    #[test]
    fn serde_json_judges_damaged_text_the_same(
        text in json(), at in any::<prop::sample::Index>(), cut in 0..2_usize,
        put in prop::sample::select(vec!["", "\"", "\\", ",", "{", "}", "[", "]", ":", "\u{1}", "0", "-", "u"]),
    ) {
        let mut text: Vec<char> = text.chars().collect();
        let at = at.index(text.len());
        text.splice(at..at + cut, put.chars());
        let text: String = text.into_iter().collect();
        prop_assert_eq!(read(&text).is_ok(), serde_json::from_str::<IgnoredAny>(&text).is_ok());
    }
}

#[test]
fn depth_is_counted_and_bounded() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert_eq!(read(&nested(128)), Ok(()));
    assert_eq!(read(&nested(129)), Err(Fault::TooDeep));
    assert_eq!(read(&"{\"a\":[".repeat(500_000)), Err(Fault::TooDeep));
    // Width is not depth.
    assert_eq!(read(&format!("[{}[]]", "[[]],".repeat(1000))), Ok(()));
    assert_eq!(Reader::new("[[]]").skip(1), Err(Fault::TooDeep));
    assert_eq!(Reader::new("[7, 8]").skip(1), Ok(0..6));
    assert_eq!(Reader::new("7 ").skip(0), Ok(0..1));
}

#[test]
fn containers_of_both_kinds_close_as_they_were_opened() {
    let (open, close) = ("{\"a\":[".repeat(64), "]}".repeat(64));
    assert_eq!(read(&format!("{open}{close}")), Ok(()));
    assert_eq!(
        read(&format!("{open}{}", close.replacen("]}", "}]", 1))),
        Err(Fault::Syntax)
    );
    assert_eq!(
        read(&format!("{open}{}]]", &close[..126])),
        Err(Fault::Syntax)
    );
}
