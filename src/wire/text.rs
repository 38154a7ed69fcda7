//! What a JSON string says.

use std::borrow::Cow;

/// The inside of a JSON string as it was written, its escapes checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub(super) raw: &'a str,
    /// Whether it has any.
    pub(super) escaped: bool,
}

impl<'a> Text<'a> {
    /// Whether it says `word`, however it was written.
    pub(crate) fn is(self, word: &str) -> bool {
        if self.escaped {
            self.chars().eq(word.chars().map(Some))
        } else {
            self.raw == word
        }
    }

    /// What it says; `None` if it has half a surrogate pair, which no Rust string can hold.
    pub(crate) fn decode(self) -> Option<Cow<'a, str>> {
        if self.escaped {
            self.chars().collect::<Option<String>>().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(self.raw))
        }
    }

    /// What it says if that has 1 to `max` bytes.
    pub(crate) fn decode_within(self, max: usize) -> Option<Cow<'a, str>> {
        // The longest escape of one byte has six: no need to unescape a megabyte to refuse it.
        if self.raw.len() > max.saturating_mul(6) {
            return None;
        }
        self.decode().filter(|text| (1..=max).contains(&text.len()))
    }

    fn chars(self) -> Unescape<'a> {
        Unescape {
            rest: self.raw.chars(),
        }
    }
}

/// The characters of a string; `None` for half a surrogate pair.
struct Unescape<'a> {
    rest: std::str::Chars<'a>,
}

impl Unescape<'_> {
    /// The number after `\u`.
    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| {
            Some(unit << 4 | self.rest.next()?.to_digit(16)?)
        })
    }

    /// The second half of a pair, if it is next.
    fn low_surrogate(&mut self) -> Option<u32> {
        let mut ahead = Self {
            rest: self.rest.as_str().strip_prefix("\\u")?.chars(),
        };
        let low = ahead
            .unit()
            .filter(|unit| (0xdc00..0xe000).contains(unit))?;
        self.rest = ahead.rest;
        Some(low)
    }
}

impl Iterator for Unescape<'_> {
    type Item = Option<char>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.next()?;
        if first != '\\' {
            return Some(Some(first));
        }
        Some(match self.rest.next()? {
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => self.unit().and_then(|unit| match unit {
                0xd800..0xdc00 => self.low_surrogate().and_then(|low| {
                    char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                }),
                _ => char::from_u32(unit),
            }),
            same => Some(same),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::Reader;
    use super::*;

    fn text(json: &str) -> Text<'_> {
        Reader::new(json).string().unwrap()
    }

    proptest! {
        #[test]
        fn strings_say_what_serde_json_reads(text in "([a-zé☃\u{1f600}]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-f]{4}|\\\\ud[89a-d][0-9a-f]{2}){0,20}") {
            let quoted = format!("\"{text}\"");
            let text = Reader::new(&quoted).string().unwrap();
            let expected = serde_json::from_str::<String>(&quoted).ok();
            prop_assert_eq!(text.decode().map(Cow::into_owned), expected.clone());
            if let Some(expected) = expected {
                prop_assert!(text.is(&expected));
                prop_assert!(!text.is(&(expected + "x")));
            }
        }
    }

    #[test]
    fn strings_are_borrowed_where_they_can_be() {
        assert!(matches!(
            text("\"gr\u{fc}n\"").decode(),
            Some(Cow::Borrowed("gr\u{fc}n"))
        ));
        assert_eq!(
            text(r#""a\ud83d\ude00\/""#).decode().as_deref(),
            Some("a\u{1f600}/")
        );
        for lone in [
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83d\ud83d\ude00""#,
            r#""\ud83dx""#,
        ] {
            assert_eq!(text(lone).decode(), None, "{lone}");
        }
    }

    #[test]
    fn bounded_strings_are_measured_unescaped() {
        assert_eq!(
            text(r#""\u0061\u0062""#).decode_within(2).as_deref(),
            Some("ab")
        );
        assert_eq!(text(r#""\u0061\u0062""#).decode_within(1), None);
        assert_eq!(text(r#""\u00e9""#).decode_within(1), None);
        assert_eq!(text("\"abcdefg\"").decode_within(6), None);
        assert_eq!(text("\"\"").decode_within(6), None);
    }
}
