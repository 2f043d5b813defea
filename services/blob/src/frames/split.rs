//! Finds where the header of a message ends.

/// Looks for the blank line that ends the header, across any borders of chunks (RFC 5322 section 2.1: the header ends
/// with an empty line). A message that begins with CRLF has a header of these two octets; one without a blank line is
/// all header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderSplitter {
    /// How much of CRLF CRLF the octets before this place match.
    matched: usize,
}

const BLANK_LINE: [u8; 4] = *b"\r\n\r\n";

impl HeaderSplitter {
    pub(crate) fn new() -> Self {
        // The start of the message counts as the start of a line.
        Self { matched: 2 }
    }

    /// Takes the next octets; returns how many of them belong to the header if it ends in them.
    pub(crate) fn push(&mut self, octets: &[u8]) -> Option<usize> {
        for (at, &octet) in octets.iter().enumerate() {
            self.matched = match octet {
                octet if octet == BLANK_LINE[self.matched] => self.matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            if self.matched == BLANK_LINE.len() {
                self.matched = 0;
                return Some(at + 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_length(message: &[u8], chunk: usize) -> Option<usize> {
        let mut splitter = HeaderSplitter::new();
        let mut before = 0;
        for chunk in message.chunks(chunk) {
            if let Some(inside) = splitter.push(chunk) {
                return Some(before + inside);
            }
            before += chunk.len();
        }
        None
    }

    #[test]
    fn the_first_blank_line_ends_the_header() {
        let table: &[(&[u8], Option<usize>)] = &[
            (b"A: b\r\n\r\nbody\r\n\r\nmore", Some(8)),
            (b"A: b\r\n\r\n", Some(8)),
            (b"\r\n", Some(2)),
            (b"\r\nbody", Some(2)),
            (b"\r\n\r\nbody", Some(2)),
            (b"", None),
            (b"A: b\r\n", None),
            (b"A: b\n\nbody", None),
            (b"A: b\r\n\r", None),
            (b"A: b\r\n\r\r\n\r\nbody", Some(11)),
            (b"A: b\r\r\n\r\nbody", Some(9)),
            (b"\r\r\n\r\nbody", Some(5)),
            (b"\nA: b\r\n\r\nbody", Some(9)),
            (b"x\r\ny\r\n\r\n", Some(8)),
        ];
        for (message, expected) in table {
            for chunk in 1..=message.len().max(1) {
                assert_eq!(
                    header_length(message, chunk),
                    *expected,
                    "{:?}",
                    message.escape_ascii().to_string()
                );
            }
        }
    }
}
