//! Long-polling through script tags and forms, for clients of revision 3 without cross-origin
//! requests.

use std::borrow::Cow;

use bytes::Bytes;

use super::engine::Malformed;

/// Digits of a callback's number that are kept; clients count up from 0.
const MAX_INDEX_DIGITS: usize = 20;

/// Wraps a text payload into the script that hands it to callback `index`.
///
/// Whatever is not a digit in `index` is left out. Nothing in the payload can end the string.
pub(crate) fn wrap(index: &str, payload: &str) -> Bytes {
    let digits = index.chars().filter(char::is_ascii_digit);
    let mut script = String::with_capacity(payload.len() + payload.len() / 4 + 48);
    script.push_str("___eio[");
    script.extend(digits.take(MAX_INDEX_DIGITS));
    script.push_str("](\"");
    for char in payload.chars() {
        match char {
            '"' | '\\' => script.extend(['\\', char]),
            '\n' => script.push_str("\\n"),
            // Line ends to JavaScript before 2019, though not to JSON; and `<`, so that a browser
            // that guesses at content types finds no tags.
            '\0'..' ' | '\u{7f}' | '\u{2028}' | '\u{2029}' | '<' => push_escaped(&mut script, char),
            _ => script.push(char),
        }
    }
    script.push_str("\");");
    Bytes::from(script)
}

/// `\u` and four hexadecimal digits; `char` is of the basic plane.
fn push_escaped(script: &mut String, char: char) {
    script.push_str("\\u");
    let code = u32::from(char);
    let digits = [12, 8, 4, 0].map(|shift| char::from_digit(code >> shift & 0xf, 16));
    script.extend(digits.into_iter().flatten());
}

/// The text payload in a form: its field `d`, freed of what the client did to save its newlines.
///
/// Clients write `\\n` for the two characters `\n`, and `\n` for a newline, because browsers change
/// the newlines of a form. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn unwrap_form(body: &[u8]) -> Result<String, Malformed> {
    let (_, payload) = form_urlencoded::parse(body)
        .find(|(name, _)| name == "d")
        .ok_or(Malformed)?;
    Ok(restore_newlines(payload))
}

fn restore_newlines(payload: Cow<'_, str>) -> String {
    if !payload.contains("\\n") {
        return payload.into_owned();
    }
    let mut restored = String::with_capacity(payload.len());
    let mut rest = &*payload;
    while let Some((before, after)) = rest.split_once("\\n") {
        match before.strip_suffix('\\') {
            Some(before) => restored.extend([before, "\\n"]),
            None => restored.extend([before, "\n"]),
        }
        rest = after;
    }
    restored.push_str(rest);
    restored
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wraps_into_a_call() {
        assert_eq!(wrap("0", "2:40"), r#"___eio[0]("2:40");"#);
        assert_eq!(wrap("12", r#"3:4["\n"]"#), r#"___eio[12]("3:4[\"\\n\"]");"#);
    }

    #[test]
    fn only_digits_of_the_index_are_kept() {
        assert_eq!(wrap("1];alert(2)//", ""), r#"___eio[12]("");"#);
        assert_eq!(wrap("", ""), r#"___eio[]("");"#);
        assert_eq!(wrap("٣", ""), r#"___eio[]("");"#);
        assert_eq!(
            wrap(&"9".repeat(100_000), ""),
            format!("___eio[{}](\"\");", "9".repeat(20))
        );
    }

    #[test]
    fn nothing_ends_the_string_early() {
        assert_eq!(
            wrap("0", "\u{2028}\u{2029}\n\r\0\u{1e}\"\\</script>é😀"),
            "___eio[0](\"\\u2028\\u2029\\n\\u000d\\u0000\\u001e\\\"\\\\\\u003c/script>é😀\");"
        );
    }

    #[test]
    fn unwraps_the_field_d() {
        assert_eq!(unwrap_form(b"d=2%3A40").as_deref(), Ok("2:40"));
        assert_eq!(unwrap_form(b"x=1&d=1:1&y=2").as_deref(), Ok("1:1"));
        assert_eq!(unwrap_form(b"d=4%F0%9F%98%80+x").as_deref(), Ok("4😀 x"));
        assert_eq!(unwrap_form(b"d=").as_deref(), Ok(""));
        for body in [&b""[..], b"x=1", b"2:40", b"D=1", b"&&&"] {
            assert_eq!(unwrap_form(body), Err(Malformed));
        }
    }

    #[test]
    fn newlines_come_back() {
        let cases = [
            (r"a\nb", "a\nb"),
            (r"a\\nb", r"a\nb"),
            (r"a\\\nb", r"a\\nb"),
            (r"\n\\n\n", "\n\\n\n"),
            (r"a\b\\c\", r"a\b\\c\"),
            (r"\\\\n", r"\\\n"),
        ];
        for (sent, meant) in cases {
            assert_eq!(restore_newlines(Cow::Borrowed(sent)), meant, "{sent}");
        }
    }

    /// What engine.io-client does to a payload before it puts it into its form.
    fn mangle(payload: &str) -> String {
        payload.replace("\\n", "\\\n").replace('\n', "\\n")
    }

    proptest! {
        #[test]
        fn a_payload_in_a_form_arrives(
            chars in prop::collection::vec(
                prop_oneof![prop::sample::select(vec!['\\', 'n', '"', '+', '%', '&', '=']), any::<char>()],
                0..40,
            ),
        ) {
            let payload: String = chars.into_iter().collect();
            // The one text that cannot be told from another: JSON never holds a raw newline.
            prop_assume!(!payload.contains("\\\n"));
            let form = form_urlencoded::Serializer::new(String::new())
                .append_pair("j", "0")
                .append_pair("d", &mangle(&payload))
                .finish();
            prop_assert_eq!(unwrap_form(form.as_bytes()), Ok(payload));
        }

        #[test]
        fn a_wrapped_payload_is_a_json_string(payload: String) {
            let script = wrap("7", &payload);
            let script = std::str::from_utf8(&script).unwrap();
            let string = script.strip_prefix("___eio[7](").unwrap().strip_suffix(");").unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(string).unwrap(), payload);
        }
    }
}
