//! Which attachments a binary event refers to, and in which order.

use super::json::{MAX_DEPTH, Reader, Step};
use super::scan::Member;

/// Placeholders in one event, unless it has more attachments than that. One attachment may be named
/// more than once, but a plain JSON client is then sent it more than once.
const MAX_PLACEHOLDERS: usize = 16;

/// The digits of the largest `u32`.
const MAX_DIGITS: usize = 10;

/// An object that is being read.
struct Object {
    /// How many of its members are named `_placeholder`.
    marks: u32,
    /// How many are named `num`.
    nums: u32,
    /// The last `num`, if it is a plain integer.
    num: Option<u32>,
    /// How many placeholders had been found when it began.
    before: usize,
}

/// What is said of an event for which there is no answer.
pub(crate) const UNFIT: &str =
    "the placeholders of an event must fit its attachments, and no member be hasOwnProperty";

/// The numbers of the placeholders in `event`, which is well-formed and not too deep, in order.
///
/// `None` if real clients, given that many attachments, would throw, close, or miss one of them:
/// - a placeholder has not exactly one `num` that is the number of an attachment,
/// - an attachment has no placeholder,
/// - a placeholder contains another, which no client then sees,
/// - the event itself is a placeholder, or its `room`, or its `callee` if `callee` says that this
///   is an address: clients look for ids there,
/// - one is in the value of `caller`, which is not relayed,
/// - there are attachments, and an object has a member `hasOwnProperty`: parsers of Socket.IO call it
///   (socket.io-parser 4.0), and the client hears nothing ever after.
pub(super) fn of_event(event: &str, attachments: usize, callee: bool) -> Option<Vec<u32>> {
    find(event, attachments, |member, depth| match member {
        Member::Caller => true,
        Member::Room => depth <= 1,
        Member::Callee => depth == 0 || depth == 1 && callee,
        Member::Type | Member::Payload | Member::Other => depth == 0,
    })
}

/// The numbers of the placeholders in the arguments of an event of any other name: `[…]`,
/// well-formed and not too deep. `None` as above, but they may stand anywhere.
pub(crate) fn anywhere(arguments: &str, attachments: usize) -> Option<Vec<u32>> {
    find(arguments, attachments, |_, _| false)
}

/// `misplaced` is asked, with the outermost member that a placeholder is in and the number of
/// objects around it, whether it must not be there.
fn find(
    text: &str,
    attachments: usize,
    misplaced: impl Fn(Member, usize) -> bool,
) -> Option<Vec<u32>> {
    let most = attachments.max(MAX_PLACEHOLDERS);
    let mut found: Vec<u32> = Vec::new();
    let mut open: Vec<Object> = Vec::new();
    let mut member = Member::Other;
    let mut sound = true;

    let read = Reader::new(text).walk(MAX_DEPTH, |step| match step {
        Step::Object => open.push(Object {
            marks: 0,
            nums: 0,
            num: None,
            before: found.len(),
        }),
        Step::Member(name, value) => {
            let name = name.text();
            if open.len() == 1 {
                member = Member::of(name);
            }
            let Some(object) = open.last_mut() else {
                return;
            };
            if name.is("_placeholder") {
                object.marks += 1;
            } else if name.is("num") {
                object.nums += 1;
                object.num = text.get(value..).and_then(integer);
            } else if name.is("hasOwnProperty") {
                sound &= attachments == 0;
            }
        }
        Step::End => {
            let Some(object) = open.pop().filter(|object| object.marks > 0) else {
                return;
            };
            match object {
                Object {
                    marks: 1,
                    nums: 1,
                    num: Some(num),
                    before,
                } if !misplaced(member, open.len()) && before == found.len() && before < most => {
                    found.push(num);
                }
                _ => sound = false,
            }
        }
    });

    let mut distinct = found.clone();
    distinct.sort_unstable();
    distinct.dedup();
    // As many different numbers as attachments, each the number of one: all are there.
    let complete = distinct.len() == attachments
        && found
            .iter()
            .all(|&num| usize::try_from(num).is_ok_and(|num| num < attachments));
    (read.is_ok() && sound && complete).then_some(found)
}

/// The number that `rest` begins with, if it has neither sign, fraction nor exponent.
fn integer(rest: &str) -> Option<u32> {
    // No further than the longest number, as a `num` may hold a long text, and that a `num` again.
    let mut bytes = rest.bytes().take(MAX_DIGITS + 1);
    let end = bytes.position(|b| matches!(b, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r'))?;
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The placeholders of an event with this payload.
    fn of(payload: &str, attachments: usize) -> Option<Vec<u32>> {
        of_event(
            &format!(r#"{{"room":{{"id":"r"}},"payload":{payload}}}"#),
            attachments,
            true,
        )
    }

    #[test]
    fn placeholders_are_found_wherever_they_are_in_order_of_the_text() {
        assert_eq!(of(r#"{"_placeholder":true,"num":0}"#, 1), Some(vec![0]));
        assert_eq!(
            of(
                r#"[{"num" : 1 , "x":[{}], "_placeholder":true},{"a":{"_placeholder":1,"num":0
            }}]"#,
                2
            ),
            Some(vec![1, 0])
        );
        assert_eq!(
            of(r#"{"\u005fplaceholder":true,"n\u0075m":0}"#, 1),
            Some(vec![0])
        );
        assert_eq!(of(r#"{"num":7,"list":[1,2]}"#, 0), Some(vec![]));
        assert_eq!(
            of_event(
                r#"{"a":{"_placeholder":true,"num":0},"b":{"_placeholder":true,"num":1}}"#,
                2,
                true
            ),
            Some(vec![0, 1])
        );
    }

    #[test]
    fn a_placeholder_has_one_plain_number() {
        for rest in [
            "",
            r#","num":1"#,
            r#","num":-0"#,
            r#","num":-1"#,
            r#","num":0.0"#,
            r#","num":0e0"#,
            r#","num":"0""#,
            r#","num":null"#,
            r#","num":[0]"#,
            r#","num":4294967296"#,
            r#","num":0,"num":0"#,
            r#","num":0,"n\u0075m":0"#,
            r#","num":0,"_placeholder":true"#,
            r#","deep":{"num":0}"#,
        ] {
            let payload = format!(r#"{{"_placeholder":true{rest}}}"#);
            assert_eq!(of(&payload, 1), None, "{payload}");
        }
        // Its value does not matter, as some clients only look whether it is there.
        assert_eq!(of(r#"{"_placeholder":false}"#, 0), None);
    }

    #[test]
    fn every_attachment_is_referred_to() {
        assert_eq!(of("null", 1), None);
        assert_eq!(of(r#"{"_placeholder":true,"num":0}"#, 0), None);
        assert_eq!(of(r#"{"_placeholder":true,"num":0}"#, 2), None);
        assert_eq!(
            of(
                r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
                2
            ),
            None
        );
        assert_eq!(of(r#"{"_placeholder":true,"num":0}"#, usize::MAX), None);
    }

    #[test]
    fn one_attachment_may_be_named_sixteen_times() {
        let times = |n: usize| {
            format!(
                "[{}]",
                vec![r#"{"_placeholder":true,"num":0}"#; n].join(",")
            )
        };
        assert_eq!(of(&times(16), 1), Some(vec![0; 16]));
        assert_eq!(of(&times(17), 1), None);
        let each = |n: usize| {
            let each: Vec<_> = (0..n)
                .map(|n| format!(r#"{{"_placeholder":true,"num":{n}}}"#))
                .collect();
            format!("[{}]", each.join(","))
        };
        assert_eq!(of(&each(20), 20), Some((0..20).collect()));
    }

    #[test]
    fn arguments_have_them_anywhere() {
        let room = r#"[{"room":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0},1]"#;
        assert_eq!(anywhere(room, 2), Some(vec![1, 0]));
        assert_eq!(anywhere(room, 1), None);
        assert_eq!(anywhere("[]", 0), Some(vec![]));
        assert_eq!(anywhere(r#"[{"_placeholder":true,"num":-1}]"#, 0), None);
    }

    #[test]
    fn what_parsers_call_is_not_hidden_from_them() {
        let with = |members: &str| format!(r#"{{{members},"x":{{"_placeholder":true,"num":0}}}}"#);
        for name in ["hasOwnProperty", r"h\u0061sOwnProperty"] {
            for members in [
                format!(r#""{name}":1"#),
                format!(r#""y":[{{"{name}":null}}]"#),
            ] {
                assert_eq!(of(&with(&members), 1), None, "{members}");
                let arguments = ["[", &with(&members), "]"].concat();
                assert_eq!(anywhere(&arguments, 1), None, "{members}");
            }
            // Where there is no attachment, nothing is looked for.
            assert_eq!(of(&format!(r#"{{"{name}":1}}"#), 0), Some(vec![]));
        }
        for unlike in [r#""y":"hasOwnProperty""#, r#""hasOwnProperty2":1"#] {
            assert_eq!(of(&with(unlike), 1), Some(vec![0]), "{unlike}");
        }
    }

    #[test]
    fn clients_are_not_given_bytes_where_they_look_for_ids() {
        let bytes = r#""_placeholder":true,"num":0"#;
        let event = |text: &str| text.replace('@', bytes);
        for text in [
            "{@}",
            r#"{"room":{"id":"r",@}}"#,
            r#"{"c\u0061llee":{"id":"r",@}}"#,
            r#"{"caller":{@}}"#,
            r#"{"caller":{"a":[{"b":{@}}]}}"#,
            r#"{"payload":{@,"x":{@}}}"#,
        ] {
            assert_eq!(of_event(&event(text), 1, true), None, "{text}");
        }
        assert_eq!(
            of_event(&event(r#"{"callee":{@}}"#), 1, false),
            Some(vec![0])
        );
        assert_eq!(
            of_event(&event(r#"{"callee":{"id":"r","x":{@}}}"#), 1, true),
            Some(vec![0])
        );
        assert_eq!(
            of_event(&event(r#"{"room":{"id":"r","x":{@}}}"#), 1, true),
            Some(vec![0])
        );
    }
}
