//! What a session writes to the log.

use puro_api::Failure;
use puro_scripted::{Log, Services};

use crate::client::Front;

#[tokio::test]
async fn a_session_leaves_one_line_without_secrets_or_addresses() {
    let log = Log::begin();
    let services = Services::with(&["Subject: private\r\n\r\ntext\r\n", "b\r\n\r\n"]);
    let front = Front::new(&services);
    front.logged_in("RETR 1\r\nTOP 2 0\r\nDELE 2\r\nQUIT\r\n").await;
    let lines = log.lines("\"message\":\"session\"");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "\"client\":\"192.0.2.1\"",
        "\"listener\":\"pop3.listen\"",
        "\"domain\":\"local.example\"",
        "\"mailbox\":",
        "\"retrieved\":1",
        "\"topped\":1",
        "\"removed\":1",
        "\"message_bytes\":31",
        "\"duration_ms\":",
        "\"end\":\"quit\"",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    for secret in ["secret", "me@local.example", "private"] {
        assert_eq!(log.lines(secret), Vec::<String>::new());
    }
}

#[tokio::test]
async fn lost_bytes_are_an_error_unless_another_session_removed_the_message() {
    for removed in [false, true] {
        let log = Log::begin();
        let services = Services::with(&["a\r\n\r\n", "b\r\n\r\n"]);
        let front = Front::new(&services);
        let mut live = front.connect();
        live.ask("USER me\r\nPASS secret\r\n", "octets)\r\n").await;
        if removed {
            services.state().messages.remove(0);
        }
        services.fail_once("read", Failure::DataLoss("no such segment".to_owned()));
        assert!(live.ask("RETR 1\r\n", "\r\n").await.starts_with("-ERR [SYS/PERM] "));
        assert_eq!(log.lines("\"level\":\"ERROR\"").len(), usize::from(!removed));
    }
}
