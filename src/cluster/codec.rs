//! Numbers, texts and lists as bytes.

use bytes::Bytes;

/// What was read is not what it should be, or ends too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Seven bits to a byte, the lowest first; the eighth says that there are more.
    #[allow(clippy::cast_possible_truncation)] // masked to the bits that fit
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    pub(crate) fn length(&mut self, length: usize) {
        self.number(length as u64);
    }

    /// Bytes after their length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }
}

/// What is left to be read. Parts of it share its memory.
#[derive(Debug)]
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Malformed> {
        let raw = self.raw(LENGTH)?;
        raw[..].try_into().map_err(|_| Malformed)
    }

    pub(crate) fn raw(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.0.len() {
            return Err(Malformed);
        }
        Ok(self.0.split_to(length))
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    /// A number that fits into memory.
    pub(crate) fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.number()?).map_err(|_| Malformed)
    }

    /// How many things follow, each of at least so many bytes: no more than there can be.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize, Malformed> {
        let count = self.length()?;
        let fits = count
            .checked_mul(least)
            .is_some_and(|all| all <= self.left());
        if fits { Ok(count) } else { Err(Malformed) }
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.length()?;
        self.raw(length)
    }

    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(number: u64) {
            let mut writer = Writer::default();
            writer.number(number);
            let mut reader = Reader::new(writer.0.into());
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.left(), 0);
        }

        #[test]
        fn no_bytes_are_trouble(bytes: Vec<u8>) {
            let mut reader = Reader::new(bytes.clone().into());
            while reader.number().is_ok() {}
            let mut reader = Reader::new(bytes.clone().into());
            while reader.bytes().is_ok() {}
            let mut reader = Reader::new(bytes.into());
            if let Ok(count) = reader.count(4) {
                prop_assert!(count * 4 <= reader.left());
            }
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_none() {
        let mut ten = [0xff; 10];
        ten[9] = 1;
        assert_eq!(Reader::new(ten.to_vec().into()).number(), Ok(u64::MAX));
        ten[9] = 2;
        assert_eq!(Reader::new(ten.to_vec().into()).number(), Err(Malformed));
        assert_eq!(Reader::new(vec![0x80; 11].into()).number(), Err(Malformed));
    }
}
