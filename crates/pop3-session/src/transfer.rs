//! RETR and TOP: octets from the service to the peer, dot-stuffed, in constant memory.

use bytes::BytesMut;
use puro_session::dots::Stuffer;
use puro_types::Location;

use crate::{
    Answer, Part, Tally,
    reply::{self, Code},
};

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    reply: Reply,
    part: Part,
    /// The reply line is written: from here on there is no -ERR.
    begun: bool,
    stuffer: Stuffer,
    /// Where the message is not sent to its end.
    cut: Option<Cut>,
}

#[derive(Debug, Clone, Copy)]
enum Reply {
    Message { size_bytes: u64 },
    Top,
}

/// Where TOP ends.
#[derive(Debug)]
struct Cut {
    /// Octets of the header still to come, the blank line included. They are known, so nothing is searched for.
    header_left: u64,
    /// Lines of the body still to come; more than 0.
    lines_left: u64,
}

/// What follows from an answer.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Ask for more.
    More(Box<Transfer>),
    /// The reply is complete, the message is not.
    Stop,
    /// The reply is complete.
    Finished,
    /// The reply cannot be completed.
    BrokeOff,
}

impl Transfer {
    /// RETR (RFC 1939 section 5).
    pub(crate) fn whole(size_bytes: u64) -> Self {
        Self::new(Reply::Message { size_bytes }, Part::Message, None)
    }

    /// TOP (RFC 1939 section 7): the header, the blank line, and this many lines of the body.
    pub(crate) fn top(location: &Location, lines: u64) -> Self {
        if lines == 0 {
            return Self::new(Reply::Top, Part::Header, None);
        }
        // A line has one octet at least, so more lines than octets are all of them. fetchmail asks for 99999999.
        let cut = (lines < location.body.length)
            .then_some(Cut { header_left: location.header.length, lines_left: lines });
        Self::new(Reply::Top, Part::Message, cut)
    }

    fn new(reply: Reply, part: Part, cut: Option<Cut>) -> Self {
        Self { reply, part, begun: false, stuffer: Stuffer::default(), cut }
    }

    /// Returns what has to be read.
    pub(crate) fn part(&self) -> Part {
        self.part
    }

    /// Takes the answer to a fetch.
    pub(crate) fn answer(
        mut self: Box<Self>,
        answer: Answer,
        out: &mut BytesMut,
        tally: &mut Tally,
    ) -> Progress {
        match answer {
            Answer::Chunk(chunk) => {
                self.begin(out);
                let (wanted, enough) = self.cut.as_mut().map_or((chunk.len(), false), |cut| cut.take(&chunk));
                self.stuffer.encode(&chunk[..wanted], out);
                tally.message_bytes += wanted as u64;
                if enough {
                    self.finish(out, tally);
                    return Progress::Stop;
                }
                Progress::More(self)
            }
            Answer::End => {
                self.begin(out);
                self.finish(out, tally);
                Progress::Finished
            }
            _ if self.begun => Progress::BrokeOff,
            Answer::Broken => {
                reply::err_code(out, Code::SysPerm, "the message is damaged");
                Progress::Finished
            }
            // A service that answers nonsense cannot answer.
            _ => {
                reply::err_code(out, Code::SysTemp, "the message cannot be read now, try again later");
                Progress::Finished
            }
        }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        match self.reply {
            Reply::Message { size_bytes } => reply::ok(out, format_args!("{size_bytes} octets")),
            Reply::Top => reply::ok(out, format_args!("top of message follows")),
        }
    }

    fn finish(&mut self, out: &mut BytesMut, tally: &mut Tally) {
        self.stuffer.finish(out);
        match self.reply {
            Reply::Message { .. } => tally.retrieved += 1,
            Reply::Top => tally.topped += 1,
        }
    }
}

impl Cut {
    /// Returns how many octets of the next piece are wanted, and whether no more are.
    fn take(&mut self, chunk: &[u8]) -> (usize, bool) {
        let header = usize::try_from(self.header_left).unwrap_or(usize::MAX).min(chunk.len());
        self.header_left -= header as u64;
        let mut at = header;
        while let Some(lf) = chunk[at..].iter().position(|octet| *octet == b'\n') {
            at += lf + 1;
            self.lines_left -= 1;
            if self.lines_left == 0 {
                return (at, true);
            }
        }
        (chunk.len(), false)
    }
}
