//! SMTP as a peer sees it: the issue's bad input, point by point, and the rules that keep mail safe.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use puro_e2e::{PASSWORD, Raw, System, everywhere, message};

everywhere! {
    /// RFC 5321 section 2.3.8: only CRLF ends a line; the message is read to its real end, then refused.
    fn bare_line_ends_are_refused(system) {
        for end in ["\n", "\r", "\n.\n", "\n.\r\n", "\r.\r"] {
            let mut smtp = hello(system);
            let text = format!("Subject: x\r\n\r\nbefore{end}MAIL FROM:<smuggled@example.net>\r\nafter\r\n");
            let reply = smtp.send_message("<a@example.net>", &["alice@example.test"], text.as_bytes());
            assert!(reply.starts_with("550 5."), "{end:?}: {reply}");
            smtp.command("NOOP", "250");
        }
        assert!(system.fetch("alice").is_empty(), "nothing was smuggled");
    }

    /// RFC 6152 wants BODY=8BITMIME; the world does not always say so. The octets are kept as they are, NUL too.
    fn eight_bit_octets_are_kept(system) {
        let body: Vec<u8> = (1..=255u8).filter(|octet| !b"\r\n".contains(octet)).collect();
        let mut text = message("octets", "");
        text.extend_from_slice(&body);
        text.extend_from_slice(b"\r\n");
        system.deliver("alice@example.test", &text);
        let fetched = system.fetch("alice");
        assert!(fetched[0].ends_with(&text), "byte for byte, behind the trace fields");
    }

    fn a_nul_octet_harms_nothing(system) {
        let mut smtp = hello(system);
        let text = b"Subject: nul\r\n\r\na\0b\r\n\0\r\n";
        let reply = smtp.send_message("<a@example.net>", &["alice@example.test"], text);
        assert!(reply.starts_with("250 "), "{reply}");
        assert!(system.fetch("alice")[0].ends_with(text));
        smtp.command("NO\0OP", "50");
        smtp.command("NOOP", "250");
    }

    /// RFC 5321 section 4.5.3.1.4: a line too long is refused, and the session goes on.
    fn a_command_of_100_kb_is_refused(system) {
        let mut smtp = hello(system);
        smtp.command(&format!("NOOP {}", "x".repeat(100_000)), "500");
        smtp.command("NOOP", "250");
    }

    /// RFC 1870: refused when declared, and again on the real octets.
    fn a_message_over_the_limit_is_refused(system) {
        let mut smtp = hello(system);
        smtp.command("MAIL FROM:<a@example.net> SIZE=60000000", "552 5.3.4");
        smtp.command("MAIL FROM:<a@example.net>", "250");
        smtp.command("RCPT TO:<alice@example.test>", "250");
        smtp.command("DATA", "354");
        smtp.send("Subject: big\r\n\r\n");
        let piece = format!("{}\r\n", "y".repeat(998)).repeat(1000);
        for _ in 0..60 {
            smtp.send(&piece);
        }
        smtp.send(".\r\n");
        smtp.expect("552 5.3.4");
        smtp.command("NOOP", "250");
        assert!(system.fetch("alice").is_empty());
    }

    /// A message without a final CRLF has no end: when the sender goes away nothing was accepted.
    fn a_message_without_an_end_is_forgotten(system) {
        let mut smtp = hello(system);
        smtp.command("MAIL FROM:<a@example.net>", "250");
        smtp.command("RCPT TO:<alice@example.test>", "250");
        smtp.command("DATA", "354");
        smtp.send("Subject: cut\r\n\r\nno end\r\n.");
        smtp.end();
        smtp.expect_end();
        assert!(system.fetch("alice").is_empty());
    }

    fn a_message_that_is_dropped_half_way_is_forgotten(system) {
        for size in [100, 3_000_000] {
            let mut smtp = hello(system);
            smtp.command("MAIL FROM:<a@example.net>", "250");
            smtp.command("RCPT TO:<alice@example.test>", "250");
            smtp.command("DATA", "354");
            smtp.send(format!("Subject: cut\r\n\r\n{}\r\n", "z".repeat(size)));
        }
        assert!(system.fetch("alice").is_empty());
    }

    fn sequence_errors_are_503(system) {
        let mut smtp = system.smtp();
        smtp.command("MAIL FROM:<a@example.net>", "503");
        smtp.command("EHLO client.example.net", "250");
        smtp.command("RCPT TO:<alice@example.test>", "503");
        smtp.command("DATA", "503");
        smtp.command("MAIL FROM:<>", "250");
        smtp.command("MAIL FROM:<>", "503");
        smtp.command("DATA", "5");
        smtp.command("RSET", "250");
        smtp.command("QUIT", "221");
    }

    /// Nobody relays for strangers; unknown users are told at RCPT.
    fn recipients_are_checked(system) {
        let mut smtp = hello(system);
        smtp.command("MAIL FROM:<>", "250");
        smtp.command("RCPT TO:<nobody@example.test>", "550 5.1.1");
        for stranger in [
            "x@elsewhere.example",
            "x%elsewhere.example@example.test",
            "\"x@elsewhere.example\"@example.test",
            "elsewhere.example!x@example.test",
            "x@[192.0.2.1]",
        ] {
            smtp.command(&format!("RCPT TO:<{stranger}>"), "55");
        }
        smtp.command("RCPT TO:<@example.test:x@elsewhere.example>", "550");
        smtp.command("DATA", "5");
        smtp.command("RCPT TO:<@relay.example:alice@EXAMPLE.test>", "250");
        smtp.command("RCPT TO:<AliCe@example.test>", "250");
        smtp.command("DATA", "354");
        smtp.send(message("once", "two paths, one mailbox\r\n"));
        smtp.send(".\r\n");
        smtp.expect("250 2.");
        assert_eq!(system.fetch("alice").len(), 1, "one transaction, one copy");
    }

    fn the_postmaster_is_always_there(system) {
        let mut smtp = hello(system);
        smtp.command("MAIL FROM:<>", "250");
        smtp.command("RCPT TO:<postmaster>", "250");
        smtp.command("RCPT TO:<PostMaster@example.test>", "250");
    }

    /// postal writes a space behind the colon; Python's library lower case.
    fn lax_spellings_are_understood(system) {
        let mut smtp = system.smtp();
        smtp.command("ehlo [127.0.0.1]", "250");
        smtp.command("mail FROM: <a@example.net> BODY=8BITMIME", "250");
        smtp.command("rcpt to: <alice@example.test>", "250");
        smtp.command("rset", "250");
        smtp.command("helo client", "250");
        smtp.command("vrfy alice", "252");
        smtp.command("noop with words", "250");
        smtp.command("help", "214");
        smtp.command("bogus", "50");
        smtp.command("quit", "221");
    }

    /// RFC 2920: commands in one packet are answered in order.
    fn pipelined_commands_are_answered_in_order(system) {
        let mut smtp = hello(system);
        smtp.send("MAIL FROM:<a@example.net>\r\nRCPT TO:<nobody@example.test>\r\nRCPT TO:<alice@example.test>\r\n");
        smtp.send("DATA\r\n");
        for code in ["250", "550", "250", "354"] {
            smtp.expect(code);
        }
        smtp.send("Subject: p\r\n\r\n..\r\n.\r\nRSET\r\nQUIT\r\n");
        for code in ["250 2.", "250", "221"] {
            smtp.expect(code);
        }
        assert!(smtp.expect_end().is_empty());
        assert!(system.fetch("alice")[0].ends_with(b"\r\n\r\n.\r\n"));
    }

    fn any_cut_is_the_same_dialogue(system) {
        let mut smtp = system.smtp();
        smtp.send_slowly("EHLO c.example.net\r\n");
        smtp.expect("250");
        smtp.send_slowly("MAIL FROM:<a@example.net>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n");
        for code in ["250", "250", "354"] {
            smtp.expect(code);
        }
        smtp.send_slowly("\r\n.. a dot\r\n.\r\n");
        smtp.expect("250 2.");
        assert!(system.fetch("alice")[0].ends_with(b"\r\n\r\n. a dot\r\n"));
    }

    /// RFC 3207 section 6: what was sent behind STARTTLS in clear is never taken for what came by TLS.
    fn commands_injected_behind_starttls_end_the_connection(system) {
        let mut smtp = hello(system);
        smtp.send("STARTTLS\r\nNOOP\r\n");
        let said = smtp.expect_end();
        assert!(said.len() <= 1, "no command behind STARTTLS is answered: {said:?}");
    }

    fn a_clear_password_needs_a_port_that_allows_it(system) {
        let mut smtp = Raw::connect(system.ports.submission);
        smtp.expect("220");
        smtp.command("EHLO c", "250");
        smtp.command("MAIL FROM:<alice@example.test>", "530 5.7.0");
        smtp.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw==", "535 5.7.8");
        smtp.command("AUTH PLAIN *", "501");
        smtp.command("AUTH NONE", "504");
        smtp.command("AUTH LOGIN", "334 VXNlcm5hbWU6");
        smtp.command("YWxpY2VAZXhhbXBsZS50ZXN0", "334 UGFzc3dvcmQ6");
        smtp.command("Y29ycmVjdCBob3JzZSBiYXR0ZXJ5", "235 2.7.0");
        smtp.command("AUTH LOGIN", "503");
        smtp.command("MAIL FROM:<bob@example.test>", "55");
        smtp.command("MAIL FROM:<alice@example.test>", "250");
        smtp.command("RCPT TO:<x@elsewhere.example>", "55");
        smtp.command("RCPT TO:<bob@example.test>", "250");
        assert_eq!(PASSWORD, "correct horse battery");
    }

    /// Wrong passwords in a row: slowed down, then shown the door; the same text whether the user exists or not.
    fn wrong_passwords_end_the_session(system) {
        let mut smtp = hello(system);
        let replies: Vec<String> = ["AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw==", "AG5vYm9keUBleGFtcGxlLnRlc3QAd3Jvbmc="]
            .iter()
            .map(|secret| smtp.command(&format!("AUTH PLAIN {secret}"), "535 5.7.8"))
            .collect();
        assert_eq!(replies[0], replies[1]);
        let mut last = String::new();
        for _ in 0..20 {
            if !smtp.try_send("AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw==\r\n") {
                break;
            }
            match smtp.line() {
                Some(line) => last = line,
                None => break,
            }
        }
        assert!(last.starts_with("421"), "{last}");
    }

    fn errors_in_a_row_end_the_session(system) {
        let mut smtp = hello(system);
        smtp.try_send("BOGUS\r\n".repeat(200));
        let said = smtp.expect_end();
        assert!(said.last().is_some_and(|line| line.starts_with("421")), "{:?}", said.last());
    }

    fn more_recipients_than_allowed_are_put_off(system) {
        let mut smtp = hello(system);
        smtp.command("MAIL FROM:<>", "250");
        let mut accepted = 0;
        let reply = loop {
            smtp.send("RCPT TO:<alice@example.test>\r\n");
            let line = smtp.line().expect("a reply");
            if !line.starts_with("250") {
                break line;
            }
            accepted += 1;
            assert!(accepted < 100_000);
        };
        assert!(accepted >= 100, "RFC 5321 section 4.5.3.1.8");
        assert!(reply.starts_with("452 4.5.3"), "{reply}");
    }
}

fn hello(system: &System) -> Raw {
    let mut smtp = system.smtp();
    smtp.command("EHLO client.example.net", "250");
    smtp
}
