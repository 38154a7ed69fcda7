//! Reads JSON in place: one pass, no recursion, no tree.

mod specials;
#[cfg(test)]
mod tests;

use std::ops::Range;

use self::specials::{BLOCK, specials_from};
use super::text::Text;

/// The deepest nesting that is read. Far more than any description of a connection needs, and what
/// common parsers take by default.
pub(crate) const MAX_DEPTH: u32 = 128;

/// Why a text was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not JSON (RFC 8259).
    Syntax,
    /// It is nested more deeply than allowed. What follows was not looked at.
    TooDeep,
}

/// What [`Reader::walk`] meets on its way.
pub(crate) enum Step<'a> {
    /// An object begins.
    Object,
    /// A member of the innermost object, and where its value begins.
    Member(Name<'a>, usize),
    /// The innermost object ends.
    End,
}

/// The name of a member, not looked at yet: few are of interest.
pub(crate) struct Name<'a> {
    text: &'a str,
    inside: Range<usize>,
    escaped: bool,
}

impl<'a> Name<'a> {
    pub(crate) fn text(&self) -> Text<'a> {
        Text {
            raw: self.text.get(self.inside.clone()).unwrap_or_default(),
            escaped: self.escaped,
        }
    }
}

/// A place in a JSON text, moved forward by whoever reads it.
///
/// Every method that does not say otherwise first skips whitespace, and reads what its name says or
/// fails.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Where the block begins that was last looked at for what strings cannot have as it is.
    block: usize,
    /// One bit for each such byte of that block, the first byte's the lowest.
    specials: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            block: usize::MAX,
            specials: 0,
        }
    }

    /// The byte that is read next.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.byte() {
            Some(byte) if byte > b' ' => Some(byte),
            _ => self.peek_past_whitespace(),
        }
    }

    /// Apart, since clients leave whitespace out.
    #[cold]
    #[inline(never)]
    fn peek_past_whitespace(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Where the next byte is read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// What was read since that position.
    pub(crate) fn since(&self, start: usize) -> Option<&'a str> {
        self.text.get(start..self.at)
    }

    /// Takes this byte if it is next.
    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.byte() == Some(byte) || self.peek() == Some(byte);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes these bytes if they are next, with no whitespace before them.
    #[inline]
    pub(crate) fn eat_all<const N: usize>(&mut self, bytes: &[u8; N]) -> bool {
        let found = self.ahead() == Some(bytes);
        if found {
            self.at += N;
        }
        found
    }

    /// The next bytes, whitespace or not.
    #[inline]
    pub(crate) fn ahead<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.text.as_bytes().get(self.at..)?.first_chunk()
    }

    /// Takes this byte, which must be next.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        self.eat(byte).then_some(()).ok_or(Fault::Syntax)
    }

    /// Nothing but whitespace must be left.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        self.peek().is_none().then_some(()).ok_or(Fault::Syntax)
    }

    /// Takes a string.
    pub(crate) fn string(&mut self) -> Result<Text<'a>, Fault> {
        self.quoted().map(|name| name.text())
    }

    #[inline]
    fn quoted(&mut self) -> Result<Name<'a>, Fault> {
        self.expect(b'"')?;
        let start = self.at;
        let escaped = self.string_end()?;
        Ok(Name {
            text: self.text,
            inside: start..self.at - 1,
            escaped,
        })
    }

    /// Takes `before`, what follows up to a quote, and `after`, which begins with that quote: if they
    /// are next, with no whitespace before them, and what is between has no escape. It may be taken
    /// for too long to look at.
    #[inline]
    pub(crate) fn eat_around<const N: usize, const M: usize>(
        &mut self,
        before: &[u8; N],
        after: &[u8; M],
    ) -> Option<Text<'a>> {
        if self.ahead() != Some(before) {
            return None;
        }
        let start = self.at + N;
        let end = self.plain_end(start)?;
        if self.text.as_bytes().get(end..)?.first_chunk() != Some(after) {
            return None;
        }
        self.at = end + M;
        let raw = self.text.get(start..end)?;
        Some(Text {
            raw,
            escaped: false,
        })
    }

    /// Takes the rest of a string whose first quote is taken. Whether there are escapes in it.
    #[inline]
    fn string_end(&mut self) -> Result<bool, Fault> {
        match self.plain_end(self.at) {
            Some(end) => {
                self.at = end + 1;
                Ok(false)
            }
            None => self.long_string_end(),
        }
    }

    /// Where a string ends that goes on from there, unless it is longer than a block or has an
    /// escape, as few are.
    #[inline]
    fn plain_end(&mut self, start: usize) -> Option<usize> {
        let into = start.wrapping_sub(self.block);
        let mut ahead = if into < BLOCK {
            self.specials >> into
        } else {
            0
        };
        if ahead == 0 {
            ahead = self.look(start);
        }
        // If none is there, the next is the earliest that may be one.
        let end = start + ahead.trailing_zeros() as usize;
        (self.text.as_bytes().get(end) == Some(&b'"')).then_some(end)
    }

    /// Looks at the block that begins there.
    #[inline(never)]
    fn look(&mut self, start: usize) -> u64 {
        self.block = start;
        self.specials = specials_from(self.text.as_bytes(), start);
        self.specials
    }

    /// The end of a string, block by block and escape by escape.
    #[inline(never)]
    fn long_string_end(&mut self) -> Result<bool, Fault> {
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        let mut at = self.at;
        while at < bytes.len() {
            // The first may have been looked at just now.
            let mut ahead = if self.block == at {
                self.specials
            } else {
                self.look(at)
            };
            let next = at + BLOCK;
            while ahead != 0 {
                let plain = ahead.trailing_zeros();
                at += plain as usize;
                let escape = match (bytes.get(at), bytes.get(at + 1)) {
                    (Some(b'\\'), Some(&kind)) if SIMPLE_ESCAPES[usize::from(kind)] => 2,
                    (Some(b'"'), _) => {
                        self.at = at + 1;
                        return Ok(escaped);
                    }
                    (Some(b'\\'), Some(b'u')) if is_unit(bytes, at + 2) => 6,
                    _ => return Err(Fault::Syntax),
                };
                escaped = true;
                at += escape as usize;
                ahead = ahead.unbounded_shr(plain + escape);
            }
            at = at.max(next);
        }
        Err(Fault::Syntax)
    }

    /// Takes an object. `read` must take a member, name and all.
    #[inline]
    pub(crate) fn members(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.expect(b'{')?;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            read(self)?;
            if !self.eat(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Takes the name of a member and its colon.
    pub(crate) fn name(&mut self) -> Result<Text<'a>, Fault> {
        let name = self.string()?;
        self.expect(b':')?;
        Ok(name)
    }

    /// Takes any value that opens no more than `levels` (at most 128) levels, and says where it
    /// stands. Surrogates written as escapes need no partner here.
    pub(crate) fn skip(&mut self, levels: u32) -> Result<Range<usize>, Fault> {
        if self.peek() == Some(b'"') {
            let start = self.at;
            self.at += 1;
            self.string_end()?;
            return Ok(start..self.at);
        }
        self.walk(levels, |_| ())
    }

    /// Like [`skip`](Self::skip), telling of every object on the way.
    #[inline]
    pub(crate) fn walk(
        &mut self,
        levels: u32,
        mut visit: impl FnMut(Step<'a>),
    ) -> Result<Range<usize>, Fault> {
        self.peek();
        let start = self.at;
        // One bit for each open container, the innermost lowest: is it an object?
        let mut objects = 0_u128;
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    self.string_end()?;
                }
                Some(open @ (b'{' | b'[')) => {
                    if depth == levels.min(MAX_DEPTH) {
                        return Err(Fault::TooDeep);
                    }
                    self.at += 1;
                    depth += 1;
                    objects = objects << 1 | u128::from(open == b'{');
                    if open == b'{' {
                        visit(Step::Object);
                        if self.peek() != Some(b'}') {
                            visit(self.member()?);
                            continue;
                        }
                    } else if self.peek() != Some(b']') {
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                _ => self.word()?,
            }
            // A value is complete, or a container is about to end without another one.
            while depth > 0 {
                let object = objects & 1 == 1;
                match (self.peek(), object) {
                    // Nothing but a complete value can stand before this, so a comma is one between
                    // values.
                    (Some(b','), _) => {
                        self.at += 1;
                        if object {
                            visit(self.member()?);
                        }
                        break;
                    }
                    (Some(b'}'), true) => visit(Step::End),
                    (Some(b']'), false) => {}
                    _ => return Err(Fault::Syntax),
                }
                self.at += 1;
                objects >>= 1;
                depth -= 1;
            }
            if depth == 0 {
                return Ok(start..self.at);
            }
        }
    }

    /// A name and its colon.
    #[inline]
    fn member(&mut self) -> Result<Step<'a>, Fault> {
        let name = self.quoted()?;
        self.expect(b':')?;
        self.peek();
        Ok(Step::Member(name, self.at))
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            // No digit may follow; whoever reads on does not expect one.
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.byte().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(()).ok_or(Fault::Syntax)
    }

    fn word(&mut self) -> Result<(), Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let word = ["null", "true", "false"]
            .into_iter()
            .find(|word| rest.starts_with(word));
        self.at += word.ok_or(Fault::Syntax)?.len();
        Ok(())
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

/// Whether four hexadecimal digits stand there.
fn is_unit(bytes: &[u8], start: usize) -> bool {
    let digits = bytes.get(start..start + 4);
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Which bytes are one escape together with the backslash before them. A table, since what a
/// description escapes is hard to foresee, for processors too.
const SIMPLE_ESCAPES: [bool; 256] = {
    let mut table = [false; 256];
    let mut kinds: &[u8] = b"\"\\/bfnrt";
    while let [kind, rest @ ..] = kinds {
        table[*kind as usize] = true;
        kinds = rest;
    }
    table
};

/// Whether `text` is one well-formed object.
pub(crate) fn is_object(text: &str) -> bool {
    is_whole(text, b'{')
}

/// Whether `text` is one well-formed array.
pub(crate) fn is_array(text: &str) -> bool {
    is_whole(text, b'[')
}

fn is_whole(text: &str, first: u8) -> bool {
    let mut reader = Reader::new(text);
    reader.peek() == Some(first) && reader.skip(MAX_DEPTH).and_then(|_| reader.finish()).is_ok()
}
