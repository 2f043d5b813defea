//! Messages which prove their own identity: made from a seed, checked when they come back.

use std::fmt;

use thiserror::Error;

/// The header field that carries id, checksum and length of a generated message.
pub const TAG_FIELD: &str = "X-Puro-Load";

/// Octets of text from which bodies are cut.
const POOL_OCTETS: usize = 1 << 20;

/// Octets a line of text may have, CRLF not counted.
const LINE_OCTETS: usize = 76;

const WORDS: &[&str] = &[
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "message",
    "mail",
    "please",
    "find",
    "attached",
    "report",
    "for",
    "meeting",
    "on",
    "Tuesday",
    "with",
    "regards",
    "we",
    "have",
    "received",
    "your",
    "order",
    "number",
    "and",
    "will",
    "send",
    "it",
    "as",
    "soon",
    "possible",
    "thank",
    "you",
    "question",
    "about",
    "invoice",
    "delivery",
    "address",
    "customer",
    "project",
    "schedule",
    "next",
    "week",
    "office",
    "call",
    "me",
    "before",
    "after",
    "noon",
    "table",
    "below",
    "shows",
    "numbers",
    "month",
    "budget",
    "plan",
    "change",
    "review",
    "comment",
    "draft",
    "version",
    "final",
    "sign",
    "return",
    "copy",
    "by",
    "post",
    "kind",
    "best",
    "sincerely",
];

/// What a body is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Words, which compress to about a third.
    #[default]
    Text,
    /// Base64 of random octets, as attachments are.
    Incompressible,
}

/// What identifies a message and lets its body be checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// Unique for a seed and a number.
    pub id: String,
    /// BLAKE3 of the body, CRLF line ends, in hexadecimal.
    pub digest: String,
    /// Octets of the body.
    pub body_octets: usize,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "id={} blake3={} octets={}", self.id, self.digest, self.body_octets)
    }
}

/// A message as it is before dot-stuffing.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its identity.
    pub tag: Tag,
    /// Header, blank line and body, every line ended by CRLF.
    pub octets: Vec<u8>,
}

/// Why a message that came back is not one that was sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Damage {
    /// There is no tag: somebody else's message, or a header that was lost.
    #[error("the message has no {TAG_FIELD} field that can be read")]
    Untagged,
    /// The tag is there and the body is another one.
    #[error("the body of {id} is not what was sent ({octets} octets instead of {expected})")]
    Body {
        /// The id in the tag.
        id: String,
        /// Octets found.
        octets: usize,
        /// Octets sent.
        expected: usize,
    },
}

/// Makes messages: the same seed and number give the same message.
#[derive(Debug)]
pub struct Generator {
    seed: u64,
    pool: Vec<u8>,
}

impl Generator {
    /// Prepares the text from which bodies are cut.
    #[must_use]
    pub fn new(seed: u64, content: Content) -> Self {
        let mut random = Random(seed ^ 0x9E37_79B9_7F4A_7C15);
        let mut pool = Vec::with_capacity(POOL_OCTETS + 2 * LINE_OCTETS);
        while pool.len() < POOL_OCTETS {
            match content {
                Content::Text => push_text_line(&mut pool, &mut random),
                Content::Incompressible => push_base64_line(&mut pool, &mut random),
            }
        }
        Self { seed, pool }
    }

    /// Makes message `number` of about `octets` octets, from `sender` to `recipient`.
    ///
    /// The size is exact unless it is too small for the header and one line.
    #[must_use]
    pub fn message(&self, number: u64, octets: usize, sender: &str, recipient: &str) -> Message {
        let id = format!("{:016x}-{number}", self.seed);
        let head = format!(
            "From: Load Tool <{sender}>\r\nTo: <{recipient}>\r\nSubject: Load test message {number}\r\n\
             Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{id}@load.invalid>\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\
             Content-Transfer-Encoding: 7bit\r\n"
        );
        // The tag's length does not depend on its values but for the digits of the body's length.
        let tag_octets = TAG_FIELD.len() + 2 + id.len() + 64 + "id= blake3= octets=\r\n\r\n".len() + 7;
        let body = self.body(number, octets.saturating_sub(head.len() + tag_octets).max(8));
        let tag = Tag { id, digest: digest(&body), body_octets: body.len() };
        let mut message = Vec::with_capacity(octets + 256);
        message.extend_from_slice(head.as_bytes());
        message.extend_from_slice(format!("{TAG_FIELD}: {tag}\r\n\r\n").as_bytes());
        message.extend_from_slice(&body);
        Message { tag, octets: message }
    }

    fn body(&self, number: u64, octets: usize) -> Vec<u8> {
        let mut random = Random(self.seed.rotate_left(17) ^ number);
        let start = usize::try_from(random.below(self.pool.len() as u64)).unwrap_or(0);
        let start = memchr::memchr(b'\n', &self.pool[start..]).map_or(0, |at| start + at + 1);
        let mut body = Vec::with_capacity(octets);
        let mut from = start;
        while body.len() < octets {
            let take = (octets - body.len()).min(self.pool.len() - from);
            body.extend_from_slice(&self.pool[from..from + take]);
            from = 0;
        }
        // The cut may fall anywhere: end the last line without leaving a CR or LF by itself.
        for octet in &mut body[octets - 3..] {
            *octet = b'x';
        }
        if octets >= 4 && body[octets - 4] == b'\r' {
            body[octets - 4] = b'x';
        }
        body[octets - 2..].copy_from_slice(b"\r\n");
        body
    }
}

/// Reads the tag of a message that came back and compares its body with it.
///
/// # Errors
/// [`Damage`] when there is no tag or the body has changed.
pub fn check(message: &[u8]) -> Result<Tag, Damage> {
    let split = memchr::memmem::find(message, b"\r\n\r\n").ok_or(Damage::Untagged)?;
    let (head, body) = (&message[..split], &message[split + 4..]);
    let tag = read_tag(head).ok_or(Damage::Untagged)?;
    if body.len() != tag.body_octets || digest(body) != tag.digest {
        return Err(Damage::Body { id: tag.id, octets: body.len(), expected: tag.body_octets });
    }
    Ok(tag)
}

/// Doubles the dot that begins a line (RFC 5321 section 4.5.2) and adds the line that ends the data.
#[must_use]
pub fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 64 + 3);
    if message.first() == Some(&b'.') {
        out.push(b'.');
    }
    let mut from = 0;
    for at in memchr::memmem::find_iter(message, b"\n.") {
        out.extend_from_slice(&message[from..=at]);
        out.push(b'.');
        from = at + 1;
    }
    out.extend_from_slice(&message[from..]);
    if !message.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

fn read_tag(head: &[u8]) -> Option<Tag> {
    let head = std::str::from_utf8(head).ok()?;
    let value = head.split("\r\n").find_map(|line| line.strip_prefix(TAG_FIELD)?.strip_prefix(": "))?;
    let mut parts = value.split(' ');
    Some(Tag {
        id: parts.next()?.strip_prefix("id=")?.to_owned(),
        digest: parts.next()?.strip_prefix("blake3=")?.to_owned(),
        body_octets: parts.next()?.strip_prefix("octets=")?.parse().ok()?,
    })
}

fn digest(body: &[u8]) -> String {
    blake3::hash(body).to_hex().to_string()
}

fn push_text_line(pool: &mut Vec<u8>, random: &mut Random) {
    let start = pool.len();
    match random.below(24) {
        0 => pool.push(b'.'), // a line that must be stuffed
        1 => return pool.extend_from_slice(b"\r\n"),
        _ => {}
    }
    while pool.len() - start < LINE_OCTETS - 14 {
        // Two draws, multiplied: common words come more often, as in a language.
        let words = WORDS.len() as u64;
        let word = random.below(words) * random.below(words) / words;
        pool.extend_from_slice(WORDS[usize::try_from(word).unwrap_or(0)].as_bytes());
        pool.push(b' ');
    }
    pool.extend_from_slice(format!("{}\r\n", random.below(100_000)).as_bytes());
}

fn push_base64_line(pool: &mut Vec<u8>, random: &mut Random) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for _ in 0..LINE_OCTETS {
        pool.push(ALPHABET[usize::try_from(random.below(64)).unwrap_or(0)]);
    }
    pool.extend_from_slice(b"\r\n");
}

/// SplitMix64: small, fast, and the same everywhere.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(number: u64, octets: usize) -> Message {
        Generator::new(7, Content::Text).message(number, octets, "a@load.invalid", "b@load.invalid")
    }

    #[test]
    fn same_seed_and_number_give_same_message() {
        assert_eq!(make(3, 4096).octets, make(3, 4096).octets);
        assert_ne!(make(3, 4096).octets, make(4, 4096).octets);
    }

    #[test]
    fn size_is_kept_and_every_line_ends_in_crlf() {
        for octets in [700, 4096, 4097, 65_536, 500_000, 3_000_000] {
            let message = make(octets as u64, octets).octets;
            assert!(message.len().abs_diff(octets) <= 7, "{} for {octets}", message.len());
            assert!(message.ends_with(b"\r\n"));
            let lone = message.windows(2).filter(|w| (w[0] == b'\r') != (w[1] == b'\n')).count();
            assert_eq!(lone, 0, "a bare CR or LF at size {octets}");
        }
    }

    #[test]
    fn every_cut_of_a_body_leaves_whole_lines() {
        let generator = Generator::new(1, Content::Text);
        for octets in 8..400 {
            let body = generator.body(9, octets);
            assert_eq!(body.len(), octets);
            assert!(body.windows(2).all(|w| (w[0] == b'\r') == (w[1] == b'\n')), "size {octets}");
        }
    }

    #[test]
    fn a_changed_octet_is_noticed() {
        let mut message = make(1, 4096);
        assert_eq!(check(&message.octets).unwrap(), message.tag);
        let middle = message.octets.len() - 100;
        message.octets[middle] ^= 1;
        assert!(matches!(check(&message.octets), Err(Damage::Body { .. })));
        assert_eq!(check(b"Subject: x\r\n\r\nhello\r\n"), Err(Damage::Untagged));
    }

    #[test]
    fn fields_added_in_front_do_no_harm() {
        let message = make(1, 4096);
        let mut traced = b"Return-Path: <a@b>\r\nReceived: from x\r\n\tby y; now\r\n".to_vec();
        traced.extend_from_slice(&message.octets);
        assert_eq!(check(&traced).unwrap(), message.tag);
    }

    #[test]
    fn dots_at_line_starts_are_doubled() {
        assert_eq!(dot_stuffed(b".a\r\nb.\r\n..c"), b"..a\r\nb.\r\n...c\r\n.\r\n");
        assert_eq!(dot_stuffed(b""), b"\r\n.\r\n");
    }
}
