//! Command lines: strict CRLF ends, bounded length, consumed in any pieces.

use bytes::{Buf, Bytes, BytesMut};

/// What stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A whole line, its CRLF taken off.
    Complete(Bytes),
    /// A line that holds a bare CR or a bare LF, which end nothing (RFC 5321 section 2.3.8). The line, up to its
    /// CRLF, has been consumed.
    BareLineEnd,
    /// A line longer than allowed; it has been consumed up to its CRLF.
    TooLong,
    /// No whole line yet.
    Incomplete,
}

/// Takes lines from the front of a buffer; remembers only whether it is skipping an overlong line.
#[derive(Debug, Default)]
pub struct LineReader {
    skipping: bool,
    /// Octets at the front that are known to hold no LF.
    scanned: usize,
}

impl LineReader {
    /// Takes the next line, at most `max` octets including CRLF. An overlong line's octets are dropped as they come,
    /// so the buffer never holds more than `max` octets of an unfinished line.
    pub fn next(&mut self, input: &mut BytesMut, max: usize) -> Line {
        loop {
            let from = self.scanned.min(input.len());
            let Some(lf) = find_lf(&input[from..]).map(|at| from + at) else {
                if input.len() > max && !self.skipping {
                    self.skipping = true;
                }
                if self.skipping {
                    // A final CR may be the first half of the line's end.
                    let keep = usize::from(input.last() == Some(&b'\r'));
                    input.advance(input.len() - keep);
                }
                self.scanned = input.len();
                return Line::Incomplete;
            };
            self.scanned = 0;
            let ends = lf > 0 && input[lf - 1] == b'\r';
            if self.skipping {
                input.advance(lf + 1);
                if ends {
                    self.skipping = false;
                    return Line::TooLong;
                }
                continue;
            }
            if !ends {
                return self.bare(input, lf, max);
            }
            let line = input.split_to(lf + 1);
            if line.len() > max {
                return Line::TooLong;
            }
            let line = line.freeze().slice(..lf - 1);
            return if line.contains(&b'\r') { Line::BareLineEnd } else { Line::Complete(line) };
        }
    }

    /// A bare LF at `lf`: the line goes on to its CRLF, and is refused whole.
    fn bare(&mut self, input: &mut BytesMut, lf: usize, max: usize) -> Line {
        let end = input[lf + 1..].windows(2).position(|pair| pair == b"\r\n");
        match end {
            Some(at) => {
                let length = lf + 1 + at + 2;
                input.advance(length);
                // By its length first, so that the answer does not hang on how the octets were cut into pieces.
                if length > max { Line::TooLong } else { Line::BareLineEnd }
            }
            None if input.len() > max => {
                self.skipping = true;
                let keep = usize::from(input.last() == Some(&b'\r'));
                input.advance(input.len() - keep);
                self.scanned = input.len();
                Line::Incomplete
            }
            None => Line::Incomplete,
        }
    }
}

fn find_lf(octets: &[u8]) -> Option<usize> {
    octets.iter().position(|octet| *octet == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[&[u8]], max: usize) -> Vec<Line> {
        let mut reader = LineReader::default();
        let mut input = BytesMut::new();
        let mut lines = Vec::new();
        for chunk in chunks {
            input.extend_from_slice(chunk);
            loop {
                match reader.next(&mut input, max) {
                    Line::Incomplete => break,
                    line => lines.push(line),
                }
            }
            assert!(input.len() <= max, "an unfinished line is bounded");
        }
        lines
    }

    fn complete(text: &'static [u8]) -> Line {
        Line::Complete(Bytes::from_static(text))
    }

    #[test]
    fn any_chunking_gives_the_same_lines() {
        let text: &[u8] = b"NOOP\r\n\r\nbare\nlf\r\nbare\rcr\r\n0123456789abcdefghij\r\nQUIT\r\n";
        let expected = vec![
            complete(b"NOOP"),
            complete(b""),
            Line::BareLineEnd,
            Line::BareLineEnd,
            Line::TooLong,
            complete(b"QUIT"),
        ];
        for size in 1..=text.len() {
            let chunks: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(all(&chunks, 16), expected, "chunks of {size}");
        }
    }

    #[test]
    fn a_line_both_bare_and_too_long_is_too_long_in_any_chunking() {
        let text: &[u8] = b"ab\ncdefghijklmnopqrstuvwxyz\r\nNOOP\r\n";
        for size in 1..=text.len() {
            let chunks: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(all(&chunks, 16), vec![Line::TooLong, complete(b"NOOP")], "chunks of {size}");
        }
    }

    #[test]
    fn an_overlong_line_with_bare_ends_is_the_same_in_any_pieces() {
        let text: &[u8] = b"ab\ncdefghijklmnopqrstuvwxyz\r\n0123456789abcdefghij\nkl\r\nNOOP\r\n";
        for size in 1..=text.len() {
            let chunks: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(
                all(&chunks, 16),
                vec![Line::TooLong, Line::TooLong, complete(b"NOOP")],
                "chunks of {size}"
            );
        }
    }

    #[test]
    fn an_endless_line_is_dropped_as_it_comes() {
        let chunk = [b'x'; 1000];
        let chunks: Vec<&[u8]> =
            (0..200).map(|_| chunk.as_slice()).chain([b"\r\nNOOP\r\n".as_slice()]).collect();
        assert_eq!(all(&chunks, 1000), vec![Line::TooLong, complete(b"NOOP")]);
    }
}
