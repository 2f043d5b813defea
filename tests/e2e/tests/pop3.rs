//! POP3 as a client sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use puro_e2e::{PASSWORD, Raw, everywhere, message};

everywhere! {
    /// RFC 1939: numbers that are no messages are refused, and the session goes on.
    fn wrong_arguments_are_refused(system) {
        system.deliver("alice@example.test", &message("one", "1\r\n"));
        let mut pop3 = system.pop3_as("alice");
        for command in [
            "RETR 0", "RETR -1", "RETR 2", "RETR 999999999999999999999", "RETR", "RETR x", "RETR 1 1", "TOP 1", "TOP 1 -1",
            "TOP 0 1", "TOP", "DELE 0", "DELE 2", "LIST 2", "UIDL 0", "BOGUS", "STLS now", "APOP a b", "USER alice", "",
        ] {
            pop3.command(command, "-ERR");
        }
        pop3.command("stat", "+OK 1 ");
        pop3.command("retr 1", "+OK");
        assert!(pop3.multi_line().ends_with(b"\r\n\r\n1\r\n"));
        pop3.command("quit", "+OK");
        assert_eq!(system.fetch("alice").len(), 1);
    }

    /// RFC 1939 sections 5 and 11: sizes are exact octets, in STAT, in LIST and of what RETR sends.
    fn sizes_are_exact(system) {
        for body in ["", "\r\n", ".\r\n", "..\r\n...\r\n", &"x".repeat(100_000), "öäü €\r\n"] {
            let body = if body.is_empty() || body.ends_with("\r\n") { body.to_owned() } else { format!("{body}\r\n") };
            system.deliver("alice@example.test", &message("size", &body));
        }
        let mut pop3 = system.pop3_as("alice");
        let stat = pop3.command("STAT", "+OK 6 ");
        pop3.command("LIST", "+OK");
        let listing = String::from_utf8(pop3.multi_line()).unwrap();
        let mut total = 0;
        for line in listing.lines() {
            let (number, size) = line.split_once(' ').unwrap();
            let size: usize = size.parse().unwrap();
            assert_eq!(pop3.command(&format!("LIST {number}"), "+OK"), format!("+OK {number} {size}"));
            pop3.command(&format!("RETR {number}"), &format!("+OK {size} "));
            assert_eq!(pop3.multi_line().len(), size);
            total += size;
        }
        assert_eq!(stat, format!("+OK 6 {total}"));
    }

    /// RFC 1939 section 7: TOP counts lines of the body.
    fn top_counts_lines_of_the_body(system) {
        system.deliver("alice@example.test", &message("top", "1\r\n.2\r\n\r\n4\r\n"));
        let mut pop3 = system.pop3_as("alice");
        pop3.command("RETR 1", "+OK");
        let whole = pop3.multi_line();
        let header = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        for (lines, body) in [(0, ""), (1, "1\r\n"), (2, "1\r\n.2\r\n"), (3, "1\r\n.2\r\n\r\n"), (4, "1\r\n.2\r\n\r\n4\r\n"), (99_999_999, "1\r\n.2\r\n\r\n4\r\n")] {
            pop3.command(&format!("TOP 1 {lines}"), "+OK");
            let top = pop3.multi_line();
            assert_eq!(top[..header], whole[..header]);
            assert_eq!(&top[header..], body.as_bytes(), "TOP 1 {lines}");
        }
    }

    /// What is not ended by QUIT deletes nothing.
    fn only_quit_deletes(system) {
        for n in 0..3 {
            system.deliver("alice@example.test", &message(&n.to_string(), "x\r\n"));
        }
        let mut pop3 = system.pop3_as("alice");
        pop3.command("DELE 1", "+OK");
        drop(pop3);
        let mut pop3 = system.pop3_as("alice");
        pop3.command("STAT", "+OK 3 ");
        pop3.command("DELE 2", "+OK");
        pop3.command("DELE 2", "-ERR");
        pop3.command("RETR 2", "-ERR");
        pop3.command("LIST 2", "-ERR");
        pop3.command("UIDL 2", "-ERR");
        pop3.command("STAT", "+OK 2 ");
        pop3.command("RSET", "+OK");
        pop3.command("STAT", "+OK 3 ");
        pop3.command("DELE 2", "+OK");
        pop3.command("QUIT", "+OK");
        assert!(pop3.expect_end().is_empty());
        let mut pop3 = system.pop3_as("alice");
        pop3.command("STAT", "+OK 2 ");
    }

    /// Numbers and ids are those of login; ids are the same in every session.
    fn the_session_is_a_snapshot(system) {
        system.deliver("alice@example.test", &message("a", "a\r\n"));
        let mut first = system.pop3_as("alice");
        let uid = first.command("UIDL 1", "+OK 1 ");
        system.deliver("alice@example.test", &message("b", "b\r\n"));
        first.command("STAT", "+OK 1 ");
        let mut second = system.pop3_as("alice");
        second.command("STAT", "+OK 2 ");
        assert_eq!(second.command("UIDL 1", "+OK"), uid);
        second.command("DELE 1", "+OK");
        second.command("QUIT", "+OK");
        first.command("RETR 1", "+OK");
        assert!(first.multi_line().ends_with(b"\r\n\r\na\r\n"), "bytes outlive the deletion");
        first.command("DELE 1", "+OK");
        first.command("QUIT", "+OK");
        let mut third = system.pop3_as("alice");
        third.command("STAT", "+OK 1 ");
        assert_ne!(third.command("UIDL 1", "+OK"), uid, "an id is never used again");
    }

    fn capabilities_are_told_in_both_states(system) {
        for logged_in in [false, true] {
            let mut pop3 = if logged_in { system.pop3_as("alice") } else { system.pop3() };
            pop3.command("CAPA", "+OK");
            let text = String::from_utf8(pop3.multi_line()).unwrap();
            for capability in ["TOP\r\n", "UIDL\r\n", "RESP-CODES\r\n", "AUTH-RESP-CODE\r\n", "PIPELINING\r\n", "EXPIRE NEVER\r\n"] {
                assert!(text.contains(capability), "{capability} in {text}");
            }
            if !logged_in {
                assert!(text.contains("STLS\r\n") && text.contains("SASL "), "{text}");
            }
        }
    }

    /// RFC 3206, and no word of who exists.
    fn bad_credentials_are_all_alike(system) {
        let mut pop3 = system.pop3();
        pop3.command("USER alice@example.test", "+OK");
        let one = pop3.command("PASS wrong", "-ERR [AUTH]");
        pop3.command("USER nobody@example.test", "+OK");
        let other = pop3.command("PASS wrong", "-ERR [AUTH]");
        assert_eq!(one, other);
        pop3.command("AUTH PLAIN *", "-ERR");
        pop3.command("AUTH PLAIN", "+ ");
        pop3.command("*", "-ERR");
        pop3.command("USER alice@example.test", "+OK");
        pop3.command(&format!("PASS {PASSWORD}"), "+OK");
    }

    fn pipelined_commands_are_answered_in_order(system) {
        system.deliver("alice@example.test", &message("p", "text\r\n"));
        let mut pop3 = system.pop3();
        pop3.send(format!("USER alice@example.test\r\nPASS {PASSWORD}\r\nSTAT\r\nRETR 1\r\nDELE 1\r\nNOOP\r\nQUIT\r\n"));
        for _ in 0..4 {
            pop3.expect("+OK");
        }
        assert!(pop3.multi_line().ends_with(b"\r\n\r\ntext\r\n"));
        for _ in 0..3 {
            pop3.expect("+OK");
        }
        assert!(pop3.expect_end().is_empty());
        assert!(system.fetch("alice").is_empty());
    }

    /// RFC 2595 section 4.
    fn commands_injected_behind_stls_end_the_connection(system) {
        let mut pop3 = system.pop3();
        pop3.send("STLS\r\nCAPA\r\n");
        assert!(pop3.expect_end().len() <= 1);
    }

    fn a_line_of_100_kb_is_refused(system) {
        let mut pop3 = system.pop3_as("alice");
        pop3.try_send(format!("RETR {}\r\n", "9".repeat(100_000)));
        let answer = pop3.line().unwrap_or_else(|| "-ERR closed".to_owned());
        assert!(answer.starts_with("-ERR"), "{answer}");
        system.pop3_as("alice").command("STAT", "+OK 0 0");
    }

    /// One session sees another's deletions only at its next login, and many may read at once.
    fn many_sessions_share_a_maildrop(system) {
        for n in 0..5 {
            system.deliver("alice@example.test", &message(&n.to_string(), "x\r\n"));
        }
        let mut sessions: Vec<Raw> = (0..10).map(|_| system.pop3_as("alice")).collect();
        for pop3 in &mut sessions {
            pop3.command("DELE 3", "+OK");
        }
        for mut pop3 in sessions {
            pop3.command("RETR 1", "+OK");
            pop3.multi_line();
            pop3.command("QUIT", "+OK");
        }
        assert_eq!(system.fetch("alice").len(), 4);
    }

    fn a_thousand_messages_and_a_big_one(system) {
        let big = format!("{}\r\n", "b".repeat(76)).repeat(10_000);
        let mut smtp = system.smtp();
        smtp.command("EHLO c.example.net", "250");
        for n in 0..1000 {
            assert!(smtp.send_message("<>", &["alice@example.test"], &message(&n.to_string(), "m\r\n")).starts_with("250"));
        }
        assert!(smtp.send_message("<>", &["alice@example.test"], &message("big", &big)).starts_with("250"));
        let mut pop3 = system.pop3_as("alice");
        pop3.command("STAT", "+OK 1001 ");
        pop3.command("UIDL", "+OK");
        let uidl = String::from_utf8(pop3.multi_line()).unwrap();
        let mut ids: Vec<&str> = uidl.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(ids.len(), 1001);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1001, "unique");
        let last = (1..=1001)
            .map(|n| pop3.command(&format!("LIST {n}"), "+OK"))
            .max_by_key(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .unwrap();
        let number = last.split(' ').nth(1).unwrap();
        pop3.command(&format!("RETR {number}"), "+OK");
        assert!(pop3.multi_line().ends_with(big.as_bytes()));
        // Removed all at once, in more steps than one of the store.
        for n in 1..=1001 {
            pop3.command(&format!("DELE {n}"), "+OK");
        }
        pop3.command("QUIT", "+OK");
        system.pop3_as("alice").command("STAT", "+OK 0 0");
    }
}
