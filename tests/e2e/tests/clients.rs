//! Real mail programs, each as its users run it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use puro_e2e::{PASSWORD, Tool, everywhere, message, python};

everywhere! {
    fn python_smtplib_and_poplib(system) {
        let ports = serde_json::json!({
            "smtp": system.ports.smtp.to_string(),
            "smtps": system.ports.smtps.to_string(),
            "submission": system.ports.submission.to_string(),
            "pop3": system.ports.pop3.to_string(),
            "pop3s": system.ports.pop3s.to_string(),
        });
        python("send_and_fetch.py", [ports.to_string().as_str(), "alice@example.test", PASSWORD]).ok();
    }

    fn curl_sends_and_fetches(system) {
        let text = message("curl", ".\r\nby curl\r\n");
        let file = system.folder().join("mail.eml");
        std::fs::write(&file, &text).unwrap();
        let user = format!("alice@example.test:{PASSWORD}");
        for (url, tls) in [
            (format!("smtp://{}", system.ports.smtp), "--ssl"),
            (format!("smtp://{}", system.ports.submission), "--ssl-reqd"),
            (format!("smtps://{}", system.ports.smtps), "--ssl-reqd"),
        ] {
            Tool::new("curl")
                .args(["-sS", "--insecure", tls, "--url", &url, "--user", &user])
                .args(["--mail-from", "alice@example.test", "--mail-rcpt", "alice@example.test", "--upload-file"])
                .args([&file])
                .run()
                .ok();
        }
        for (url, tls) in [
            (format!("pop3://{}/1", system.ports.pop3), "--ssl"),
            (format!("pop3://{}/2", system.ports.pop3), "--ssl-reqd"),
            (format!("pop3s://{}/3", system.ports.pop3s), "--ssl-reqd"),
        ] {
            let fetched = Tool::new("curl").args(["-sS", "--insecure", tls, "--user", &user, &url]).run().ok();
            assert!(fetched.out.as_bytes().ends_with(&text), "{}", fetched.out);
        }
        let list = Tool::new("curl")
            .args(["-sS", "--user", &user, &format!("pop3://{}/", system.ports.pop3)])
            .run()
            .ok();
        assert_eq!(list.out.lines().count(), 3);
        Tool::new("curl")
            .args(["-sS", "--user", "alice@example.test:wrong", &format!("pop3://{}/", system.ports.pop3)])
            .run()
            .code(67);
    }

    fn swaks_in_every_way(system) {
        let submission = system.ports.submission.to_string();
        let smtps = system.ports.smtps.to_string();
        let login = ["--auth-user", "alice@example.test", "--auth-password", PASSWORD];
        swaks(system.ports.smtp.to_string(), &[]).code(0);
        swaks(system.ports.smtp.to_string(), &["--tls"]).code(0);
        swaks(system.ports.smtp.to_string(), &["--pipeline"]).code(0);
        swaks(system.ports.smtp.to_string(), &["--protocol", "SMTP"]).code(0);
        for auth in ["PLAIN", "LOGIN"] {
            swaks(submission.clone(), &[&["--tls", "--auth", auth][..], &login].concat()).code(0);
            swaks(smtps.clone(), &[&["--tls-on-connect", "--auth", auth][..], &login].concat()).code(0);
        }
        // 28: the server refused the login. 24: it refused the recipient.
        swaks(submission, &["--tls", "--auth", "PLAIN", "--auth-user", "alice@example.test", "--auth-password", "wrong"])
            .code(28);
        swaks(system.ports.smtp.to_string(), &["--to", "x@elsewhere.example"]).code(24).says("550 5.7.1");
        assert_eq!(system.fetch("alice").len(), 8);
    }

    fn openssl_sees_good_tls(system) {
        for (address, starttls) in [
            (system.ports.smtp, Some("smtp")),
            (system.ports.submission, Some("smtp")),
            (system.ports.pop3, Some("pop3")),
            (system.ports.smtps, None),
            (system.ports.pop3s, None),
        ] {
            let connect = address.to_string();
            let start: Vec<&str> = starttls.map(|name| vec!["-starttls", name]).unwrap_or_default();
            let tls = |extra: &[&str]| {
                Tool::new("openssl")
                    .args(["s_client", "-connect", &connect, "-crlf", "-ign_eof"])
                    .args(&start)
                    .args(extra)
                    .input("QUIT\n")
                    .run()
            };
            tls(&["-tls1_3"]).ok().says("TLSv1.3");
            tls(&["-tls1_2"]).ok().says("TLSv1.2");
            assert_ne!(tls(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]).code, Some(0), "TLS 1.1 is refused");
        }
    }

    fn fetchmail_fetches_and_deletes(system) {
        for n in 0..3 {
            system.deliver("alice@example.test", &message(&format!("fetch{n}"), ".\r\ntext\r\n"));
        }
        let home = system.folder().join("fetchmail");
        std::fs::create_dir(&home).unwrap();
        let inbox = home.join("inbox");
        let rc = home.join("rc");
        let settings = format!(
            "poll 127.0.0.1 protocol pop3 port {} auth password no dns\n user \"alice@example.test\" password \"{PASSWORD}\" \
             sslproto \"\" fetchall no rewrite mda \"cat >> {}\"\n",
            system.ports.pop3.port(),
            inbox.display(),
        );
        std::fs::write(&rc, settings).unwrap();
        std::fs::set_permissions(&rc, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Tool::new("fetchmail").args(["-f", rc.to_str().unwrap(), "--nosyslog", "-v"]).env("HOME", &home).env("FETCHMAILHOME", &home).run().ok();
        let text = std::fs::read_to_string(&inbox).unwrap();
        assert_eq!(text.matches("Subject: fetch").count(), 3);
        assert!(system.fetch("alice").is_empty(), "fetchmail deletes what it took");
    }
}

fn swaks(server: String, arguments: &[&str]) -> puro_e2e::Ran {
    let to: &[&str] = if arguments.contains(&"--to") { &[] } else { &["--to", "alice@example.test"] };
    Tool::new("swaks")
        .args(["--server", &server, "--from", "alice@example.test", "--helo", "client.example.net"])
        .args(to)
        .args(arguments)
        .run()
}
