//! The fetching side: a POP3 client for one connection (RFC 1939).

use crate::target::{Encryption, Target, User};
use crate::wire::{Failure, Wire};

/// A session that is logged in.
#[derive(Debug)]
pub struct Pop3Client {
    wire: Wire,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The number in this session.
    pub number: u64,
    /// What UIDL or LIST says about it.
    pub value: String,
}

impl Pop3Client {
    /// Connects, encrypts as the target wants, and logs in with USER and PASS.
    ///
    /// # Errors
    /// [`Failure`] of the first step that did not succeed.
    pub async fn login(target: &Target, user: &User) -> Result<Self, Failure> {
        let mut wire = Wire::connect(target).await?;
        positive(&mut wire, "greeting").await?;
        if target.encryption == Encryption::Starttls {
            wire.send("stls", b"STLS\r\n").await?;
            positive(&mut wire, "stls").await?;
            wire = wire.encrypted().await?;
        }
        let mut client = Self { wire };
        client.command("user", &format!("USER {}", user.address)).await?;
        client.command("pass", &format!("PASS {}", user.password)).await?;
        Ok(client)
    }

    /// Messages and octets in the maildrop.
    ///
    /// # Errors
    /// [`Failure`] when refused, or when the answer is not two numbers.
    pub async fn stat(&mut self) -> Result<(u64, u64), Failure> {
        let answer = self.command("stat", "STAT").await?;
        let mut numbers = answer.split(' ').skip(1).map_while(|word| word.parse::<u64>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(messages), Some(octets)) => Ok((messages, octets)),
            _ => Err(nonsense("stat", answer)),
        }
    }

    /// Numbers and unique ids.
    ///
    /// # Errors
    /// [`Failure`] when refused or unreadable.
    pub async fn uidl(&mut self) -> Result<Vec<Listed>, Failure> {
        self.listing("uidl", "UIDL").await
    }

    /// Numbers and sizes.
    ///
    /// # Errors
    /// [`Failure`] when refused or unreadable.
    pub async fn list(&mut self) -> Result<Vec<Listed>, Failure> {
        self.listing("list", "LIST").await
    }

    /// The message of that number.
    ///
    /// # Errors
    /// [`Failure`] when refused.
    pub async fn retr(&mut self, number: u64) -> Result<Vec<u8>, Failure> {
        self.command("retr", &format!("RETR {number}")).await?;
        self.wire.block("retr").await
    }

    /// Marks the message of that number as deleted.
    ///
    /// # Errors
    /// [`Failure`] when refused.
    pub async fn dele(&mut self, number: u64) -> Result<(), Failure> {
        self.command("dele", &format!("DELE {number}")).await.map(|_| ())
    }

    /// Ends the session, which removes what was marked.
    ///
    /// # Errors
    /// [`Failure`] when the server says that it did not remove all.
    pub async fn quit(mut self) -> Result<(), Failure> {
        self.command("quit", "QUIT").await.map(|_| ())
    }

    async fn command(&mut self, stage: &'static str, line: &str) -> Result<String, Failure> {
        self.wire.send(stage, format!("{line}\r\n").as_bytes()).await?;
        positive(&mut self.wire, stage).await
    }

    async fn listing(&mut self, stage: &'static str, verb: &str) -> Result<Vec<Listed>, Failure> {
        self.command(stage, verb).await?;
        let block = String::from_utf8_lossy(&self.wire.block(stage).await?).into_owned();
        block
            .lines()
            .map(|line| {
                let (number, value) = line.split_once(' ').ok_or_else(|| nonsense(stage, line.to_owned()))?;
                let number = number.parse().map_err(|_| nonsense(stage, line.to_owned()))?;
                Ok(Listed { number, value: value.to_owned() })
            })
            .collect()
    }
}

async fn positive(wire: &mut Wire, stage: &'static str) -> Result<String, Failure> {
    let line = wire.line(stage).await?;
    if line == "+OK" || line.starts_with("+OK ") {
        return Ok(line);
    }
    // With RESP-CODES (RFC 2449 section 8) the reason is the word in brackets.
    let code = line
        .strip_prefix("-ERR [")
        .and_then(|rest| rest.split_once(']'))
        .map_or("-ERR".to_owned(), |(code, _)| format!("-ERR [{code}]"));
    Err(Failure::Refused { stage, code, reply: line })
}

fn nonsense(stage: &'static str, reply: String) -> Failure {
    Failure::Refused { stage, code: "not an answer".to_owned(), reply }
}
