//! One maildrop as its only reader knows it: what was seen in it stays there, once, until the reader deletes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::{PASSWORD, Raw, message, random_text};

/// Returns the text of a message: the number tells all of it.
pub(crate) fn text(number: usize) -> Vec<u8> {
    // Most share a segment with others; some are too big for that.
    let octets = match number {
        _ if number % 41 == 40 => 1_500_000,
        _ if number % 11 == 10 => 60_000,
        _ => 1_500,
    };
    let body = random_text(number, octets);
    message(&format!("drill{number}"), &format!("{body}{number}\r\n"))
}

/// What the reader of a maildrop knows.
#[derive(Debug)]
pub(crate) struct Maildrop {
    user: String,
    /// Read whole and not deleted: unique id and number.
    there: BTreeMap<String, usize>,
    /// Deleted, and told so by a +OK to QUIT.
    gone: BTreeMap<String, usize>,
    /// Marked in a session that ended with an error: there or not.
    doubtful: BTreeMap<String, usize>,
    visits: usize,
}

/// What a visit came to: a look at everything, or the answer that ended it.
pub(crate) type Visit = Result<(), String>;

impl Maildrop {
    pub(crate) fn new(user: &str) -> Self {
        let nothing = BTreeMap::new();
        Self {
            user: user.to_owned(),
            there: nothing.clone(),
            gone: nothing.clone(),
            doubtful: nothing,
            visits: 0,
        }
    }

    /// Returns which of these messages the reader has never met.
    pub(crate) fn missing(&self, of: &BTreeSet<usize>) -> Vec<usize> {
        let met = |number: &usize| {
            [&self.there, &self.gone, &self.doubtful]
                .iter()
                .any(|part| part.values().any(|met| met == number))
        };
        of.iter().copied().filter(|number| !met(number)).collect()
    }

    /// Looks at the whole maildrop, reads what is new and deletes some of what is old.
    ///
    /// # Panics
    /// When something is not as it has to be: a message seen before is missing, one that was deleted is back, one is there
    /// twice, or its text is not what was sent.
    ///
    /// # Errors
    /// The answer to a command that was not good; "cut" when the connection ended within a message.
    pub(crate) fn visit(&mut self, pop3: SocketAddr, deletes: bool) -> Visit {
        let mut pop3 = Raw::try_connect(pop3).ok_or("refused")?;
        pop3.ask("", "+OK")?;
        pop3.ask(&format!("USER {}", self.user), "+OK")?;
        pop3.ask(&format!("PASS {PASSWORD}"), "+OK")?;
        let stat = pop3.ask("STAT", "+OK")?;
        let count: usize = stat.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("STAT tells a number");
        pop3.ask("UIDL", "+OK")?;
        let listing = String::from_utf8(pop3.try_multi_line().ok_or("cut")?).expect("a listing");
        let ids: Vec<&str> = listing.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
        assert_eq!(ids.len(), count, "{}: STAT and UIDL differ", self.user);
        self.check(&ids);
        for (place, id) in ids.iter().enumerate() {
            let known = [&self.there, &self.doubtful].iter().any(|part| part.contains_key(*id));
            if !known {
                self.read(&mut pop3, place + 1, id)?;
            }
        }
        self.visits += 1;
        let marked = if deletes { self.delete_some(&mut pop3, &ids)? } else { Vec::new() };
        self.quit(&mut pop3, marked)
    }

    fn check(&self, ids: &[&str]) {
        let once: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(once.len(), ids.len(), "{}: an id is there twice", self.user);
        for (id, number) in &self.there {
            assert!(
                once.contains(id.as_str()),
                "{}: message {number} ({id}) is missing in {ids:?}",
                self.user
            );
        }
        for (id, number) in &self.gone {
            assert!(!once.contains(id.as_str()), "{}: message {number} ({id}) is back", self.user);
        }
    }

    /// Reads a message that was not seen before.
    fn read(&mut self, pop3: &mut Raw, place: usize, id: &str) -> Visit {
        pop3.ask(&format!("RETR {place}"), "+OK")?;
        let mail = pop3.try_multi_line().ok_or("cut")?;
        let head = String::from_utf8_lossy(&mail[..mail.len().min(4096)]).into_owned();
        let number = head.lines().find_map(|line| line.strip_prefix("Subject: drill")?.parse().ok());
        let number: usize = number.unwrap_or_else(|| panic!("{}: a message of nobody's: {head}", self.user));
        assert!(mail.ends_with(&text(number)), "{}: message {number} is not what was sent", self.user);
        let again = self.missing(&BTreeSet::from([number])).is_empty();
        assert!(!again, "{}: message {number} is there a second time, as {id}", self.user);
        self.there.insert(id.to_owned(), number);
        Ok(())
    }

    /// Marks a third of what is there, in every second visit.
    fn delete_some(&self, pop3: &mut Raw, ids: &[&str]) -> Result<Vec<String>, String> {
        let mut marked = Vec::new();
        for (place, id) in ids.iter().enumerate().filter(|_| self.visits.is_multiple_of(2)) {
            if self.there.get(*id).is_some_and(|number| number % 3 == 0) {
                // Nothing is deleted before QUIT, so an error here leaves all as it was.
                pop3.ask(&format!("DELE {}", place + 1), "+OK")?;
                marked.push((*id).to_owned());
            }
        }
        Ok(marked)
    }

    fn quit(&mut self, pop3: &mut Raw, marked: Vec<String>) -> Visit {
        let said = pop3.ask("QUIT", "+OK");
        for id in marked {
            let number = self.there.remove(&id).expect("a message that is there was marked");
            let part = if said.is_ok() { &mut self.gone } else { &mut self.doubtful };
            part.insert(id, number);
        }
        said.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::{SocketAddr, TcpListener},
        thread,
    };

    use super::{Maildrop, text};

    /// Serves one session with these messages: id and text.
    fn serve(messages: Vec<(&'static str, Vec<u8>)>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            stream.write_all(b"+OK\r\n").unwrap();
            while let Some(Ok(line)) = lines.next() {
                let mut said = b"+OK\r\n".to_vec();
                match line.split_once(' ').unwrap_or((&line, "")) {
                    ("STAT", _) => said = format!("+OK {} 0\r\n", messages.len()).into_bytes(),
                    ("UIDL", _) => {
                        for (place, (id, _)) in messages.iter().enumerate() {
                            said.extend(format!("{} {id}\r\n", place + 1).bytes());
                        }
                        said.extend(b".\r\n");
                    }
                    ("RETR", place) => {
                        said.extend(&messages[place.parse::<usize>().unwrap() - 1].1);
                        said.extend(b".\r\n");
                    }
                    _ => {}
                }
                if stream.write_all(&said).is_err() {
                    return;
                }
            }
        });
        address
    }

    fn seen() -> Maildrop {
        let mut maildrop = Maildrop::new("u@example.test");
        maildrop.visit(serve(vec![("a", text(1)), ("b", text(2))]), false).unwrap();
        maildrop
    }

    #[test]
    fn what_stays_and_what_is_new_is_well() {
        let mut maildrop = seen();
        maildrop.visit(serve(vec![("a", text(1)), ("b", text(2)), ("c", text(3))]), false).unwrap();
        assert_eq!(maildrop.missing(&(1..=4).collect()), [4]);
    }

    #[test]
    #[should_panic(expected = "is missing")]
    fn emptiness_is_noticed() {
        let _ = seen().visit(serve(Vec::new()), false);
    }

    #[test]
    #[should_panic(expected = "a second time")]
    fn a_second_copy_is_noticed() {
        let _ = seen().visit(serve(vec![("a", text(1)), ("b", text(2)), ("c", text(2))]), false);
    }

    #[test]
    #[should_panic(expected = "is not what was sent")]
    fn another_text_is_noticed() {
        let mut short = text(3);
        short.truncate(short.len() - 100);
        short.extend(b"\r\n");
        let _ = seen().visit(serve(vec![("a", text(1)), ("b", text(2)), ("c", short)]), false);
    }

    #[test]
    #[should_panic(expected = "is back")]
    fn what_comes_back_is_noticed() {
        let mut maildrop = Maildrop::new("u@example.test");
        maildrop.visit(serve(vec![("a", text(3))]), false).unwrap();
        // In every second visit those with a number that three divides are deleted.
        maildrop.visit(serve(vec![("a", text(3))]), true).unwrap();
        maildrop.visit(serve(vec![("a", text(3))]), true).unwrap();
        let _ = maildrop.visit(serve(vec![("a", text(3))]), false);
    }
}
