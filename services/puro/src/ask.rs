//! Asking the person at the terminal. Passwords come from standard input, from a prompt without echo, or are made here;
//! never from the command line, where every user of the machine could read them.

use std::io::{self, BufRead, IsTerminal};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::{exit::Fault, output::say, password};

/// Octets of a password at most.
const PASSWORD_MAX: usize = 1024;

/// Where a password comes from.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PasswordSource {
    /// Read the password from standard input, one line
    #[arg(long)]
    password_stdin: bool,
    /// Make a password and print it
    #[arg(long, conflicts_with = "password_stdin")]
    generate: bool,
}

/// A password, and whether it was made here and has to be told.
pub(crate) struct Password {
    pub(crate) secret: SecretString,
    pub(crate) is_made: bool,
}

impl PasswordSource {
    /// Returns the password.
    pub(crate) fn password(self) -> Result<Password, Fault> {
        if self.generate {
            let secret = password::generate().map_err(|error| Fault::System(io::Error::other(error)))?;
            return Ok(Password { secret, is_made: true });
        }
        let secret = if self.password_stdin {
            first_line(io::stdin().lock())?
        } else if io::stdin().is_terminal() {
            prompt()?
        } else {
            let how = "where there is no terminal to ask at, give --password-stdin or --generate";
            return Err(Fault::Usage(how.to_owned()));
        };
        Ok(Password { secret, is_made: false })
    }
}

/// Reads a line and forgets its end.
fn first_line(input: impl BufRead) -> Result<SecretString, Fault> {
    let mut line = String::new();
    let mut bounded = input.take(PASSWORD_MAX as u64 + 3);
    bounded.read_line(&mut line).map_err(|error| Fault::Stream("standard input", error))?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    check(text.strip_suffix('\r').unwrap_or(text).to_owned().into())
}

fn prompt() -> Result<SecretString, Fault> {
    let ask = |text: &str| {
        rpassword::prompt_password(text)
            .map(SecretString::from)
            .map_err(|error| Fault::Stream("terminal", error))
    };
    let first = check(ask("Password: ")?)?;
    let second = ask("Once more: ")?;
    if first.expose_secret() == second.expose_secret() {
        Ok(first)
    } else {
        Err(Fault::Refused("the two passwords differ".to_owned()))
    }
}

fn check(password: SecretString) -> Result<SecretString, Fault> {
    match password.expose_secret().len() {
        0 => Err(Fault::Refused("an empty password is refused".to_owned())),
        1..=PASSWORD_MAX => Ok(password),
        _ => Err(Fault::Refused(format!("a password has at most {PASSWORD_MAX} octets"))),
    }
}

/// Asks before something that cannot be undone. Scripts are not asked.
pub(crate) fn confirm(what: std::fmt::Arguments<'_>) -> Result<(), Fault> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    say(format_args!("{what} This cannot be undone. Type yes to go on:"));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| Fault::Stream("standard input", error))?;
    if line.trim().eq_ignore_ascii_case("yes") {
        Ok(())
    } else {
        Err(Fault::Refused("nothing was changed".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_line_without_its_end() {
        for (input, password) in [
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret", "secret"),
            (" with spaces \nand more\n", " with spaces "),
            ("secret\r\r\n", "secret\r"),
        ] {
            assert_eq!(first_line(input.as_bytes()).ok().unwrap().expose_secret(), password, "{input:?}");
        }
        let longest = "x".repeat(PASSWORD_MAX);
        assert!(first_line(format!("{longest}\r\n").as_bytes()).is_ok());
        for input in ["", "\n", "\r\n", &format!("{longest}x\n")] {
            assert!(first_line(input.as_bytes()).is_err(), "{input:?}");
        }
    }
}
