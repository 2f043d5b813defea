//! What a client sees, and what the back ends are asked.

use puro_api::Failure;
use puro_scripted::Services;

use crate::client::Front;

const ONE: &str = "Subject: one\r\n\r\nfirst line\r\n.second\r\n";
const TWO: &str = "Subject: two\r\n\r\n";

fn unavailable() -> Failure {
    Failure::Unavailable("a bad minute".to_owned())
}

#[tokio::test]
async fn a_session_from_login_to_removal() {
    let services = Services::with(&[ONE, TWO, ONE]);
    let front = Front::new(&services);
    let replies =
        front.logged_in("STAT\r\nRETR 1\r\nTOP 1 1\r\nTOP 2 0\r\nDELE 1\r\nDELE 3\r\nQUIT\r\n").await;
    let (one, total) = (ONE.len(), 2 * ONE.len() + TWO.len());
    let expected = format!(
        "+OK 3 messages ({total} octets)\r\n+OK 3 {total}\r\n+OK {one} octets\r\nSubject: one\r\n\r\nfirst \
         line\r\n..second\r\n.\r\n+OK top of message follows\r\nSubject: one\r\n\r\nfirst line\r\n.\r\n+OK top of \
         message follows\r\n{TWO}.\r\n+OK message 1 deleted\r\n+OK message 3 deleted\r\n+OK bye\r\n"
    );
    assert_eq!(replies, expected);
    let state = services.state();
    assert_eq!(state.removed.len(), 1);
    assert_eq!(state.removed[0].len(), 2);
    assert_eq!(state.messages.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_poll_of_an_unchanged_maildrop_uses_the_listing_that_is_there() {
    let services = Services::with(&[ONE, TWO]);
    let front = Front::new(&services);
    let first = front.logged_in("UIDL\r\nQUIT\r\n").await;
    assert_eq!(front.logged_in("UIDL\r\nQUIT\r\n").await, first);
    {
        let mut state = services.state();
        assert_eq!(state.listed, [0, 1]);
        state.version = 2;
        state.messages.push((9, TWO.as_bytes().to_vec()));
    }
    assert!(front.logged_in("QUIT\r\n").await.starts_with("+OK 3 messages"));
    assert!(front.logged_in("QUIT\r\n").await.starts_with("+OK 3 messages"));
    assert_eq!(services.state().listed, [0, 1, 1, 2]);
}

#[tokio::test]
async fn a_session_keeps_its_snapshot_while_another_removes() {
    let services = Services::with(&[ONE, TWO]);
    let front = Front::new(&services);
    let mut live = front.connect();
    live.ask("USER me\r\nPASS secret\r\n", "octets)\r\n").await;
    assert!(front.logged_in("DELE 1\r\nQUIT\r\n").await.ends_with("+OK bye\r\n"));
    assert!(live.ask("LIST 1\r\n", "\r\n").await.starts_with(&format!("+OK 1 {}", ONE.len())));
    assert!(live.ask("RETR 2\r\n", "\r\n.\r\n").await.contains(TWO));
    assert!(front.logged_in("LIST\r\nQUIT\r\n").await.contains(&format!("\r\n1 {}\r\n.\r\n", TWO.len())));
}

#[tokio::test(start_paused = true)]
async fn failures_at_login_by_table() {
    for (method, failure, expected) in [
        ("authenticate", Failure::Unauthenticated("no".to_owned()), "-ERR [AUTH] "),
        ("authenticate", Failure::Invalid("no login".to_owned()), "-ERR [AUTH] "),
        ("authenticate", unavailable(), "-ERR [SYS/TEMP] "),
        ("authenticate", Failure::Exhausted("too many failed".to_owned()), "-ERR [SYS/TEMP] "),
        ("authenticate", Failure::Internal("a bug".to_owned()), "-ERR [SYS/TEMP] "),
        ("list", unavailable(), "-ERR [SYS/TEMP] "),
        ("list", Failure::NotFound("mailbox".to_owned()), "-ERR [SYS/TEMP] "),
        ("list", Failure::DataLoss("items".to_owned()), "-ERR [SYS/PERM] "),
    ] {
        let services = Services::with(&[ONE]);
        services.fail_once(method, failure.clone());
        let front = Front::new(&services);
        let replies = front.logged_in("STAT\r\nUSER me\r\nPASS secret\r\nQUIT\r\n").await;
        assert!(replies.starts_with(expected), "{method} {failure:?}: {replies}");
        assert!(replies.contains("-ERR log in first\r\n") && replies.ends_with("+OK bye\r\n"), "{replies}");
        assert!(replies.contains("+OK 1 messages"), "the next attempt succeeds: {replies}");
    }
}

#[tokio::test]
async fn failures_of_reading_by_table() {
    for (failure, expected) in [
        (unavailable(), "-ERR [SYS/TEMP] "),
        (Failure::Internal("a bug".to_owned()), "-ERR [SYS/TEMP] "),
        (Failure::DataLoss("checksum".to_owned()), "-ERR [SYS/PERM] "),
        (Failure::NotFound("segment".to_owned()), "-ERR [SYS/PERM] "),
    ] {
        let services = Services::with(&[ONE]);
        let front = Front::new(&services);
        services.fail_once("read", failure.clone());
        let replies = front.logged_in("RETR 1\r\nNOOP\r\n").await;
        let (_, reply) = replies.split_once("octets)\r\n").unwrap();
        assert!(reply.starts_with(expected), "{failure:?}: {reply}");
        assert!(reply.ends_with("+OK nothing done\r\n"), "the session goes on: {reply}");
    }
}

#[tokio::test]
async fn a_message_that_breaks_off_is_not_ended() {
    for failure in [unavailable(), Failure::DataLoss("checksum".to_owned())] {
        let services = Services::with(&[ONE]);
        services.state().breaks = Some((26, failure));
        let front = Front::new(&services);
        let replies = front.logged_in("RETR 1\r\nDELE 1\r\nQUIT\r\n").await;
        assert!(replies.ends_with(&format!("octets\r\n{}", &ONE[..26])), "{replies}");
        assert!(services.state().removed.is_empty());
    }
}

#[tokio::test]
async fn quit_tells_when_not_all_was_removed() {
    let services = Services::with(&[ONE, TWO]);
    let front = Front::new(&services);
    services.fail_once("remove", unavailable());
    let replies = front.logged_in("DELE 1\r\nQUIT\r\n").await;
    assert!(replies.ends_with("-ERR [SYS/TEMP] some deleted messages not removed\r\n"), "{replies}");
}

#[tokio::test]
async fn a_connection_that_ends_without_quit_removes_nothing() {
    let services = Services::with(&[ONE, TWO]);
    let front = Front::new(&services);
    front.logged_in("DELE 1\r\nDELE 2\r\n").await;
    assert!(services.state().removed.is_empty());
    assert!(front.logged_in("QUIT\r\n").await.starts_with("+OK 2 messages"));
}
