//! The sending side: an SMTP client for one connection (RFC 5321).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::target::{Encryption, Target, User};
use crate::wire::{Failure, Wire};

/// A reply: its code, and the text of its last line.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// The whole reply, lines joined by LF.
    pub text: String,
}

/// A greeted connection, ready for a transaction.
#[derive(Debug)]
pub struct SmtpClient {
    wire: Wire,
    pipelining: bool,
}

impl SmtpClient {
    /// Connects, says EHLO, encrypts as the target wants, and logs in when an account is given.
    ///
    /// # Errors
    /// [`Failure`] of the first step that did not succeed.
    pub async fn connect(target: &Target, login: Option<&User>) -> Result<Self, Failure> {
        let mut wire = Wire::connect(target).await?;
        expect(&mut wire, "greeting", 220).await?;
        let mut features = ehlo(&mut wire).await?;
        if target.encryption == Encryption::Starttls {
            wire.send("starttls", b"STARTTLS\r\n").await?;
            expect(&mut wire, "starttls", 220).await?;
            wire = wire.encrypted().await?;
            features = ehlo(&mut wire).await?;
        }
        if let Some(user) = login {
            let response = STANDARD.encode(format!("\0{}\0{}", user.address, user.password));
            wire.send("auth", format!("AUTH PLAIN {response}\r\n").as_bytes()).await?;
            expect(&mut wire, "auth", 235).await?;
        }
        let pipelining = features.to_ascii_uppercase().contains("PIPELINING");
        Ok(Self { wire, pipelining })
    }

    /// Sends a message that is already dot-stuffed and ended by its single dot.
    ///
    /// # Errors
    /// [`Failure::Refused`] with the code of the first command that was refused: the connection can be
    /// used again after [`SmtpClient::reset`]. [`Failure::ReplyLost`] when the connection failed after the
    /// last octet was sent. Everything else means that the message was not accepted.
    pub async fn deliver(&mut self, sender: &str, recipient: &str, stuffed: &[u8]) -> Result<Reply, Failure> {
        let mail = format!("MAIL FROM:<{sender}>\r\n");
        let rcpt = format!("RCPT TO:<{recipient}>\r\n");
        if self.pipelining {
            self.wire.send("mail", format!("{mail}{rcpt}DATA\r\n").as_bytes()).await?;
            let mail = reply(&mut self.wire, "mail").await?;
            let rcpt = reply(&mut self.wire, "rcpt").await?;
            let data = reply(&mut self.wire, "data").await?;
            if data.code == 354 && (mail.code != 250 || rcpt.code != 250) {
                // Refused, yet the server waits for a message (RFC 2920 section 3.1 allows it): send none.
                self.wire.send("data", b".\r\n").await?;
                reply(&mut self.wire, "data").await?;
            }
            accepted("mail", &mail, 250)?;
            accepted("rcpt", &rcpt, 250)?;
            accepted("data", &data, 354)?;
        } else {
            self.wire.send("mail", mail.as_bytes()).await?;
            expect(&mut self.wire, "mail", 250).await?;
            self.wire.send("rcpt", rcpt.as_bytes()).await?;
            expect(&mut self.wire, "rcpt", 250).await?;
            self.wire.send("data", b"DATA\r\n").await?;
            expect(&mut self.wire, "data", 354).await?;
        }
        // From the first octet on a failure leaves the fate of the message open only once the last one may
        // have arrived; a write that failed may have been read up to its end, so it counts as lost too.
        if self.wire.send("message", stuffed).await.is_err() {
            return Err(Failure::ReplyLost);
        }
        let Ok(end) = reply(&mut self.wire, "end of data").await else { return Err(Failure::ReplyLost) };
        accepted("end of data", &end, 250)?;
        Ok(end)
    }

    /// Forgets a transaction that was refused.
    ///
    /// # Errors
    /// [`Failure`] when the connection is of no more use.
    pub async fn reset(&mut self) -> Result<(), Failure> {
        self.wire.send("rset", b"RSET\r\n").await?;
        expect(&mut self.wire, "rset", 250).await
    }

    /// Leaves; what the server answers does not matter.
    pub async fn quit(mut self) {
        if self.wire.send("quit", b"QUIT\r\n").await.is_ok() {
            let _ = reply(&mut self.wire, "quit").await;
        }
    }
}

async fn ehlo(wire: &mut Wire) -> Result<String, Failure> {
    wire.send("ehlo", b"EHLO load.invalid\r\n").await?;
    let answer = reply(wire, "ehlo").await?;
    accepted("ehlo", &answer, 250)?;
    Ok(answer.text)
}

async fn reply(wire: &mut Wire, stage: &'static str) -> Result<Reply, Failure> {
    let mut text = String::new();
    loop {
        let line = wire.line(stage).await?;
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        let last = line.as_bytes().get(3) != Some(&b'-');
        text.push_str(&line);
        match code {
            Some(code) if last => return Ok(Reply { code, text }),
            Some(_) => text.push('\n'),
            None => return Err(Failure::Refused { stage, code: "not a reply".to_owned(), reply: line }),
        }
    }
}

async fn expect(wire: &mut Wire, stage: &'static str, code: u16) -> Result<(), Failure> {
    let answer = reply(wire, stage).await?;
    accepted(stage, &answer, code)
}

fn accepted(stage: &'static str, reply: &Reply, code: u16) -> Result<(), Failure> {
    if reply.code == code {
        return Ok(());
    }
    Err(Failure::Refused { stage, code: reply.code.to_string(), reply: reply.text.clone() })
}
