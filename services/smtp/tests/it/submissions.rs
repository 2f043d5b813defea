//! Mail that is submitted here.

use puro_scripted::Services;

use crate::client::{Front, QUEUE_ID, last_but_bye};

/// `me` and `secret`, for PLAIN.
const LOGIN: &str = "AUTH PLAIN AG1lAHNlY3JldA==\r\n";
const ENVELOPE: &str = "MAIL FROM:<me@local.example>\r\nRCPT TO:<user-a@local.example>\r\nDATA\r\n";

#[tokio::test]
async fn a_submitted_message_is_completed() {
    for listener in ["smtp.listen", "smtp.submission_listen", "smtp.tls_listen"] {
        let services = Services::default();
        let front = Front::on(listener, &services);
        let message = "Bcc: secret@local.example,\r\n other@local.example\r\nSubject: x\r\n\r\nBcc: text\r\n";
        let replies = front.dialogue(&format!("{LOGIN}{ENVELOPE}{message}.\r\nQUIT\r\n")).await;
        assert!(last_but_bye(&replies).starts_with("250 "), "{listener}: {replies}");
        let stored = String::from_utf8(services.state().stored[0].octets.clone()).unwrap();
        assert!(stored.contains("with ESMTPA id"), "{stored}");
        assert!(
            stored.ends_with(&format!(
                "+0000\r\nSubject: x\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n\
                 Message-ID: <{QUEUE_ID}@mail.example>\r\n\r\nBcc: text\r\n"
            )),
            "{stored}"
        );
    }
}

#[tokio::test]
async fn mail_from_elsewhere_is_not_completed() {
    let services = Services::default();
    Front::new(&services).send(&["user-a@local.example"], "Bcc: x\r\nSubject: x\r\n\r\n").await;
    let stored = String::from_utf8(services.state().stored[0].octets.clone()).unwrap();
    assert!(stored.ends_with("+0000\r\nBcc: x\r\nSubject: x\r\n\r\n"), "{stored}");
}

#[tokio::test]
async fn a_submission_port_wants_a_login() {
    for listener in ["smtp.submission_listen", "smtp.tls_listen"] {
        let services = Services::default();
        let replies =
            Front::on(listener, &services).dialogue("MAIL FROM:<me@local.example>\r\nQUIT\r\n").await;
        assert_eq!(last_but_bye(&replies), "530 5.7.0 Authentication required", "{listener}");
    }
}

#[tokio::test]
async fn an_account_sends_as_itself() {
    let services = Services::default();
    let front = Front::new(&services);
    let replies = front.dialogue(&format!("{LOGIN}MAIL FROM:<you@local.example>\r\nQUIT\r\n")).await;
    assert!(last_but_bye(&replies).starts_with("553 5.7.1 "), "{replies}");
    services.fail("check_sender", puro_api::Failure::Unavailable("gone".to_owned()));
    let replies = front.dialogue(&format!("{LOGIN}MAIL FROM:<me@local.example>\r\nQUIT\r\n")).await;
    assert!(last_but_bye(&replies).starts_with("451 4.3.0 "), "{replies}");
}

#[tokio::test(start_paused = true)]
async fn bad_credentials_and_a_directory_that_is_away() {
    let services = Services::default();
    let front = Front::new(&services);
    let replies = front.dialogue("AUTH PLAIN AG1lAHdyb25n\r\nQUIT\r\n").await;
    assert!(last_but_bye(&replies).starts_with("535 5.7.8 "), "{replies}");
    services.fail("authenticate", puro_api::Failure::Unavailable("gone".to_owned()));
    let replies = front.dialogue(&format!("{LOGIN}QUIT\r\n")).await;
    assert!(last_but_bye(&replies).starts_with("454 4.7.0 "), "{replies}");
}
