//! The operator's command line against a running system.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use puro_e2e::{PASSWORD, everywhere, message};

everywhere! {
    fn domains_users_and_aliases(system) {
        system.operator(&["check"]).ok();
        system.operator(&["domain", "add", "example.test"]).code(1);
        system.operator(&["domain", "add", "not a domain"]).code(2);
        system.operator(&["domain", "add", "other.test"]).ok();
        system.operator(&["domain", "list"]).ok().says("other.test");
        system.operator(&["domain", "remove", "other.test"]).ok();
        system.operator(&["domain", "remove", "example.test"]).code(1);
        system.operator_with(&["user", "add", "alice@example.test", "--password-stdin"], "x").code(1);
        system.operator_with(&["user", "add", "eve@unknown.test", "--password-stdin"], "x").code(1);
        system.operator(&["user", "show", "nobody@example.test"]).code(1);
        system.operator(&["user", "bogus"]).code(2);
        let json = system.operator(&["--json", "user", "list"]).ok().out;
        let users: serde_json::Value = serde_json::from_str(&json).expect("JSON on standard output");
        assert!(users.to_string().contains("bob@example.test"), "{users}");

        system.operator(&["alias", "add", "all@example.test", "alice@example.test", "bob@example.test"]).ok();
        system.deliver("ALL@example.test", &message("all", "to both\r\n"));
        assert_eq!(system.fetch("alice").len(), 1);
        assert_eq!(system.fetch("bob").len(), 1);
        system.operator(&["alias", "list"]).ok().says("all@example.test");
        system.operator(&["alias", "remove", "all@example.test"]).ok();
    }

    fn a_new_password_works_at_once_and_the_old_one_no_more(system) {
        system.pop3_as("alice").command("QUIT", "+OK");
        system.operator_with(&["user", "passwd", "alice@example.test", "--password-stdin"], "new one").ok();
        let mut pop3 = system.pop3();
        pop3.command("USER alice@example.test", "+OK");
        pop3.command(&format!("PASS {PASSWORD}"), "-ERR [AUTH]");
        pop3.command("USER alice@example.test", "+OK");
        pop3.command("PASS new one", "+OK");
    }

    fn a_disabled_user_neither_logs_in_nor_loses_mail(system) {
        system.deliver("bob@example.test", &message("kept", "x\r\n"));
        system.operator(&["user", "disable", "bob@example.test"]).ok();
        let mut pop3 = system.pop3();
        pop3.command("USER bob@example.test", "+OK");
        pop3.command(&format!("PASS {PASSWORD}"), "-ERR [AUTH]");
        let mut smtp = system.smtp();
        smtp.command("EHLO c.example.net", "250");
        smtp.command("MAIL FROM:<>", "250");
        smtp.command("RCPT TO:<bob@example.test>", "450");
        system.operator(&["user", "enable", "bob@example.test"]).ok();
        assert_eq!(system.fetch("bob").len(), 1);
        system.operator(&["user", "remove", "bob@example.test"]).ok();
        smtp.command("RSET", "250");
        smtp.command("MAIL FROM:<>", "250");
        smtp.command("RCPT TO:<bob@example.test>", "550 5.1.1");
    }

    fn a_full_mailbox_puts_mail_off(system) {
        system.operator_with(
            &["user", "add", "small@example.test", "--password-stdin", "--quota", "1000"],
            PASSWORD,
        ).ok();
        system.deliver("small@example.test", &message("one", &"x".repeat(1200).add_line()));
        let mut smtp = system.smtp();
        smtp.command("EHLO c.example.net", "250");
        smtp.command("MAIL FROM:<> SIZE=100", "250");
        smtp.command("RCPT TO:<small@example.test>", "452 4.2.2");
    }

    fn mail_is_listed_and_exported(system) {
        for n in 0..3 {
            system.deliver("alice@example.test", &message(&format!("export{n}"), "From here\r\n>From there\r\n"));
        }
        system.operator(&["mail", "list", "alice@example.test"]).ok();
        let json = system.operator(&["--json", "mail", "list", "alice@example.test"]).ok().out;
        let listed: serde_json::Value = serde_json::from_str(&json).expect("JSON on standard output");
        assert_eq!(listed.as_array().map(Vec::len), Some(3), "{listed}");
        let mbox = system.operator(&["mail", "export", "alice@example.test"]).ok().out;
        assert_eq!(mbox.lines().filter(|line| line.starts_with("From ")).count(), 3);
        assert_eq!(mbox.matches(">>From there").count(), 3, "mboxrd quoting");
        system.operator(&["mail", "list", "nobody@example.test"]).code(1);
    }

    fn configuration_is_read_and_set(system) {
        system.operator(&["config", "set", "read_capacity_units", "30"]).ok();
        system.operator(&["config", "get", "read_capacity_units"]).ok().says("30");
        for name in ["no_such_name", "max_message_size", "retention"] {
            system.operator(&["config", "set", name, "1"]).code(1);
            system.operator(&["config", "get", name]).code(1);
        }
    }

    fn the_domain_of_logins_without_one_is_set(system) {
        system.operator(&["config", "set", "domain", "other.test"]).code(1);
        system.operator(&["domain", "add", "other.test"]).ok();
        system.operator_with(&["user", "add", "dora@other.test", "--password-stdin"], PASSWORD).ok();
        let mut pop3 = system.pop3();
        pop3.command("USER dora", "+OK");
        pop3.command(&format!("PASS {PASSWORD}"), "-ERR [AUTH]");
        system.operator(&["config", "set", "domain", "other.test"]).ok();
        pop3.command("USER dora", "+OK");
        pop3.command(&format!("PASS {PASSWORD}"), "+OK");
    }

    fn an_unreachable_system_is_69(system) {
        let elsewhere = "http://127.0.0.1:9";
        system.operator(&["--metadata", elsewhere, "user", "list"]).code(69);
    }
}

trait AddLine {
    fn add_line(self) -> String;
}

impl AddLine for String {
    fn add_line(mut self) -> String {
        self.push_str("\r\n");
        self
    }
}
