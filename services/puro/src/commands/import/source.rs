//! Messages of other programs: mbox files, Maildirs, single files. Each is read in pieces, as it will be on the wire.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::{
    exit::Fault,
    mbox::{Quoting, Unquoter, is_separator, messages},
};

/// Octets read at once.
const CHUNK: usize = 64 * 1024;
/// Octets of a header that are searched for a date.
const HEADER_MAX: usize = 256 * 1024;

/// A message in a file, or in a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) path: PathBuf,
    /// The part of an mbox file, and how it is quoted.
    part: Option<(u64, u64, Quoting)>,
    /// Octets in the file.
    pub(super) length: u64,
}

/// What reading a message once has told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Learned {
    pub(super) blake3: blake3::Hash,
    /// Octets on the wire.
    pub(super) size: u64,
    /// When it came, or was written, as its header says; milliseconds since the Unix epoch.
    pub(super) dated_ms: Option<u64>,
    /// Some line ends were bare.
    pub(super) was_bare: bool,
}

/// Finds the messages in a file or folder.
///
/// # Errors
/// What is none of the three kinds is refused by name.
pub(super) fn find(path: &Path, quoting: Quoting) -> Result<Vec<Draft>, Fault> {
    let fault = |error| Fault::File(path.to_owned(), error);
    let kind = fs::metadata(path).map_err(fault)?;
    if kind.is_dir() {
        return maildir(path);
    }
    let mut file = BufReader::new(File::open(path).map_err(fault)?);
    let mut first = Vec::new();
    io::BufRead::read_until(&mut file.by_ref().take(4096), b'\n', &mut first).map_err(fault)?;
    if is_separator(&first) {
        file.seek(SeekFrom::Start(0)).map_err(fault)?;
        let found = messages(file).map_err(fault)?;
        let draft = |part: std::ops::Range<u64>| {
            let length = part.end - part.start;
            Draft { path: path.to_owned(), part: Some((part.start, length, quoting)), length }
        };
        return Ok(found.into_iter().filter(|part| !part.is_empty()).map(draft).collect());
    }
    if kind.len() > 0 && !is_field(&first) {
        let text = format!("{}: neither a message nor an mbox file", path.display());
        return Err(Fault::Refused(text));
    }
    Ok(whole(path, kind.len()).into_iter().collect())
}

/// Finds the messages of a Maildir; ones that are marked as trashed (`T`) are left out, as mail programs do.
fn maildir(path: &Path) -> Result<Vec<Draft>, Fault> {
    let folders = [path.join("cur"), path.join("new")];
    if !folders.iter().any(|folder| folder.is_dir()) {
        let text = format!("{}: no Maildir, it has neither cur nor new", path.display());
        return Err(Fault::Refused(text));
    }
    let mut drafts = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let fault = |error| Fault::File(folder.clone(), error);
        for entry in fs::read_dir(folder).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = fs::metadata(entry.path()).map_err(fault)?;
            if kind.is_file() && !name.starts_with('.') && !is_trashed(&name) {
                drafts.extend(whole(&entry.path(), kind.len()));
            }
        }
    }
    drafts.sort_by(|one, other| one.path.file_name().cmp(&other.path.file_name()));
    Ok(drafts)
}

fn is_trashed(name: &str) -> bool {
    name.rsplit_once(":2,").is_some_and(|(_, flags)| flags.contains('T'))
}

fn whole(path: &Path, length: u64) -> Option<Draft> {
    (length > 0).then(|| Draft { path: path.to_owned(), part: None, length })
}

/// Says whether a line may begin a message: a header field's name and a colon (RFC 5322 section 2.2).
fn is_field(line: &[u8]) -> bool {
    let name = line.iter().take_while(|octet| (33..=126).contains(*octet) && **octet != b':').count();
    let rest = &line[name..];
    name > 0 && rest.iter().find(|octet| !b" \t".contains(octet)) == Some(&b':')
}

impl Draft {
    /// Begins to read it.
    pub(super) fn open(&self) -> io::Result<Reader> {
        let mut file = File::open(&self.path)?;
        let (start, length, quoting) = self.part.unwrap_or((0, u64::MAX, Quoting::None));
        file.seek(SeekFrom::Start(start))?;
        Ok(Reader {
            file: file.take(length),
            unquoter: Unquoter::new(quoting),
            ends: LineEnds::default(),
            chunk: vec![0; CHUNK],
            is_over: false,
        })
    }

    /// Reads it to its end.
    pub(super) fn learn(&self) -> io::Result<Learned> {
        let mut reader = self.open()?;
        let mut hasher = blake3::Hasher::new();
        let (mut size, mut header) = (0, Vec::new());
        let mut out = Vec::new();
        while reader.next(&mut out)? {
            hasher.update(&out);
            size += out.len() as u64;
            let room = HEADER_MAX - header.len();
            header.extend_from_slice(&out[..room.min(out.len())]);
        }
        Ok(Learned {
            blake3: hasher.finalize(),
            size,
            dated_ms: dated(&header),
            was_bare: reader.ends.was_bare,
        })
    }

    /// Returns when the file was last changed, milliseconds since the Unix epoch.
    pub(super) fn changed_ms(&self) -> Option<u64> {
        let changed = fs::metadata(&self.path).and_then(|kind| kind.modified()).ok()?;
        u64::try_from(changed.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    }
}

/// A message being read.
pub(super) struct Reader {
    file: io::Take<File>,
    unquoter: Unquoter,
    ends: LineEnds,
    chunk: Vec<u8>,
    is_over: bool,
}

impl Reader {
    /// Puts the next octets, as they are on the wire, into `out`; false at the end.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        out.clear();
        let mut plain = Vec::with_capacity(CHUNK);
        while out.is_empty() && !self.is_over {
            let count = self.file.read(&mut self.chunk)?;
            plain.clear();
            if count == 0 {
                self.is_over = true;
                self.unquoter.end(&mut plain);
            } else {
                self.unquoter.pass(&self.chunk[..count], &mut plain);
            }
            self.ends.pass(&plain, self.is_over, out);
        }
        Ok(!out.is_empty())
    }
}

/// Makes every CR or LF that stands alone CRLF, as the SMTP service does.
#[derive(Debug, Default)]
struct LineEnds {
    after_cr: bool,
    was_bare: bool,
}

impl LineEnds {
    fn pass(&mut self, octets: &[u8], is_last: bool, out: &mut Vec<u8>) {
        out.reserve(octets.len() + octets.len() / 32 + 2);
        for octet in octets {
            match (self.after_cr, *octet) {
                (true, b'\n') => {}
                (true, _) => self.mend(b'\n', out),
                (false, b'\n') => self.mend(b'\r', out),
                (false, _) => {}
            }
            out.push(*octet);
            self.after_cr = *octet == b'\r';
        }
        if is_last && self.after_cr {
            self.after_cr = false;
            self.mend(b'\n', out);
        }
    }

    fn mend(&mut self, missing: u8, out: &mut Vec<u8>) {
        self.was_bare = true;
        out.push(missing);
    }
}

/// Reads when a message came: the date of the topmost `Received` field, else of `Date`.
fn dated(message: &[u8]) -> Option<u64> {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    let header = String::from_utf8_lossy(&message[..end]).replace("\r\n ", " ").replace("\r\n\t", " ");
    let value = |name: &str| {
        header.split("\r\n").find_map(|field| {
            let (found, value) = field.split_once(':')?;
            found.trim_end().eq_ignore_ascii_case(name).then_some(value)
        })
    };
    let received = value("Received").and_then(|value| value.rsplit_once(';')).map(|(_, date)| date);
    [received, value("Date")].into_iter().flatten().find_map(parse_date)
}

/// Reads a date (RFC 5322 section 3.3) from 1980 on.
fn parse_date(text: &str) -> Option<u64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let time = parser.parse_timestamp(text.trim()).ok()?;
    let ms = u64::try_from(time.as_millisecond()).ok()?;
    (ms >= 315_532_800_000).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(draft: &Draft) -> Vec<u8> {
        let (mut reader, mut out, mut all) = (draft.open().unwrap(), Vec::new(), Vec::new());
        while reader.next(&mut out).unwrap() {
            all.extend_from_slice(&out);
        }
        all
    }

    #[test]
    fn line_ends_become_whole_in_any_pieces() {
        for (text, expected, bare) in [
            (&b"a\r\nb\r\n"[..], &b"a\r\nb\r\n"[..], false),
            (b"a\nb", b"a\r\nb", true),
            (b"a\rb\r\n", b"a\r\nb\r\n", true),
            (b"\n\n\r\n", b"\r\n\r\n\r\n", true),
            (b"a\r", b"a\r\n", true),
        ] {
            for size in 1..=text.len() {
                let (mut ends, mut out) = (LineEnds::default(), Vec::new());
                text.chunks(size).for_each(|piece| ends.pass(piece, false, &mut out));
                ends.pass(b"", true, &mut out);
                assert_eq!((&out[..], ends.was_bare), (expected, bare), "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn dates_are_those_of_arrival() {
        let received = "Received: from x (y; z)\r\n\tby b; Tue, 14 Nov 2023 22:13:20 +0000 (UTC)\r\n";
        let date = "Date: Mon, 13 Nov 2023 22:13:20 +0000\r\n";
        for (header, ms) in [
            (format!("{received}{date}\r\n"), Some(1_700_000_000_000)),
            (format!("Subject: x\r\n{date}\r\n"), Some(1_699_913_600_000)),
            (format!("Received: no date\r\n{date}\r\n"), Some(1_699_913_600_000)),
            ("Date: yesterday\r\n\r\n".to_owned(), None),
            (format!("A: b\r\n\r\n{date}"), None),
            (String::new(), None),
        ] {
            assert_eq!(dated(header.as_bytes()), ms, "{header}");
        }
    }

    #[test]
    fn kinds_are_told_by_their_looks() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            find(&folder.path().join(name), Quoting::Rd)
        };
        let texts = |drafts: Result<Vec<Draft>, Fault>| -> Vec<String> {
            drafts.ok().unwrap().iter().map(|draft| String::from_utf8(read(draft)).unwrap()).collect()
        };
        assert_eq!(texts(file("one.eml", "Subject: x\n\nbody\n")), ["Subject: x\r\n\r\nbody\r\n"]);
        let mbox =
            "From a Tue Nov 14 22:13:20 2023\nA: b\n\n>From\n\nFrom a Tue Nov 14 22:13:20 2023\nC: d\n\n\n";
        assert_eq!(texts(file("two", mbox)), ["A: b\r\n\r\n>From\r\n", "C: d\r\n\r\n"]);
        assert!(texts(file("empty", "")).is_empty());
        assert!(matches!(file("photo.jpg", "\u{7f}JFIF: x"), Err(Fault::Refused(_))));
        assert!(
            matches!(find(folder.path(), Quoting::Rd), Err(Fault::Refused(_))),
            "a folder, but no Maildir"
        );
        assert!(matches!(find(&folder.path().join("absent"), Quoting::Rd), Err(Fault::File(..))));
    }

    #[test]
    fn a_maildir_is_read_in_the_order_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["cur", "new", "tmp"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["cur/2.b:2,S", "cur/3.c:2,ST", "new/1.a", "new/.hidden", "tmp/4.d"] {
            fs::write(folder.path().join(name), format!("Subject: {name}\r\n\r\n")).unwrap();
        }
        let drafts = find(folder.path(), Quoting::Rd).ok().unwrap();
        let names: Vec<_> = drafts.iter().map(|draft| draft.path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["1.a", "2.b:2,S"]);
    }
}
