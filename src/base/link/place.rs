//! Where in the run of the dataflow's messages a stream is, and what ends it from there.

/// Bytes of a message's header: six words, big-endian.
pub(super) const HEADER: usize = 48;
/// Where in the header the length of what follows stands.
pub(super) const LENGTH: usize = 32;

/// Where in the run of messages a stream is.
#[derive(Clone, Copy)]
pub(super) struct Place {
    header: [u8; HEADER],
    /// Bytes of the header that were read.
    known: usize,
    /// Bytes of the message that are not read yet.
    rest: usize,
    /// Whether the last message was read.
    pub over: bool,
}

impl Place {
    pub const START: Self = Self { header: [0; HEADER], known: 0, rest: 0, over: false };

    fn length(&self) -> usize {
        let mut word = [0; 8];
        word.copy_from_slice(&self.header[LENGTH..LENGTH + 8]);
        usize::try_from(u64::from_be_bytes(word)).unwrap_or(usize::MAX)
    }

    /// Takes note of bytes that were read.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let count = self.rest.min(bytes.len());
                self.rest -= count;
                bytes = &bytes[count..];
                continue;
            }
            let count = (HEADER - self.known).min(bytes.len());
            self.header[self.known..self.known + count].copy_from_slice(&bytes[..count]);
            self.known += count;
            bytes = &bytes[count..];
            if self.known == HEADER {
                self.rest = self.length();
                self.over |= self.rest == 0;
                (self.header, self.known) = ([0; HEADER], 0);
            }
        }
    }

    /// How many zeros end the message that was begun, and then the stream.
    pub fn missing(&self) -> usize {
        match self.known {
            0 => self.rest + HEADER,
            // The header is completed with zeros: one that then has no length is the last.
            known => match self.length() {
                0 => HEADER - known,
                length => HEADER - known + length + HEADER,
            },
        }
    }
}
