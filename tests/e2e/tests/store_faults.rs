//! The fault drill: DynamoDB and S3 refuse, stall, reset, throttle and fail, and nothing is lost, nothing looks empty, and
//! service goes on by itself when it is over.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use puro_e2e::{Drill, Mode, message, random_octets, wait_until};
use puro_stand_ins::{Fault, FaultProxy, Plan, Rule};

/// Makes each scene a test for one process and for four.
macro_rules! scenes {
    ($($(#[$doc:meta])* fn $name:ident($drill:ident) $body:block)*) => {
        $($(#[$doc])* fn $name($drill: &Drill) $body)*

        mod single {
            use super::*;
            $(#[test] fn $name() { super::$name(&Drill::start(Mode::Single)); })*
        }

        mod four {
            use super::*;
            $(#[test] fn $name() { super::$name(&Drill::start(Mode::Four)); })*
        }
    };
}

scenes! {
    /// The first PuRo lost the message. The sender is told to come again, and nothing half-delivered is seen.
    fn s3_down_at_delivery(drill) {
        let system = &drill.system;
        system.deliver("alice@example.test", &message("before", "x\r\n"));
        drill.s3.take_down();
        for size in [10, 2_000_000] {
            let mail = message("refused", &format!("{}\r\n", "x".repeat(70)).repeat(size / 72 + 1));
            let reply = system.try_deliver("alice@example.test", &mail).expect_err("nothing can be kept");
            assert!(reply.starts_with("451 4."), "{reply}");
        }
        let mut pop3 = system.pop3_as("alice");
        pop3.command("STAT", "+OK 1 ");
        pop3.command("QUIT", "+OK");
        drill.s3.bring_up();
        wait_until("mail is taken again", || {
            system.try_deliver("alice@example.test", &message("after", "x\r\n")).ok()
        });
        let mails = system.fetch("alice");
        assert_eq!(mails.len(), 2, "the one before and the one after");
        assert!(mails[1].ends_with(&message("after", "x\r\n")));
    }

    /// The first PuRo sent an empty message, which the client then deleted.
    fn s3_down_at_retr(drill) {
        let system = &drill.system;
        let mail = message("whole", "every octet\r\n");
        system.deliver("alice@example.test", &mail);
        let mut open = system.pop3_as("alice");
        drill.s3.take_down();
        let mut new = system.pop3_as("alice");
        for pop3 in [&mut open, &mut new] {
            pop3.command("RETR 1", "-ERR [SYS/TEMP]");
            pop3.command("TOP 1 0", "-ERR [SYS/TEMP]");
            pop3.command("STAT", "+OK 1 ");
            pop3.command("LIST 1", "+OK 1 ");
        }
        drill.s3.bring_up();
        wait_until("the message can be read", || open.ask("RETR 1", "+OK").ok());
        assert!(open.multi_line().ends_with(&mail));
        new.command("RETR 1", "+OK");
        assert!(new.multi_line().ends_with(&mail));
    }

    /// The first PuRo said +OK 0 0: to its user the mailbox had been emptied.
    fn dynamodb_down_at_stat(drill) {
        let system = &drill.system;
        system.deliver("alice@example.test", &message("kept", "x\r\n"));
        let mut open = system.pop3_as("alice");
        drill.dynamodb.take_down();
        // A session that began before has its snapshot, and can change nothing.
        open.command("STAT", "+OK 1 ");
        open.command("DELE 1", "+OK");
        open.command("QUIT", "-ERR [SYS/TEMP]");
        for _ in 0..3 {
            let reply = system.try_fetch("alice").expect_err("no maildrop to be seen");
            assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
        }
        let mut waiting = system.pop3();
        waiting.command("USER alice@example.test", "+OK");
        waiting.command(&format!("PASS {}", puro_e2e::PASSWORD), "-ERR [SYS/TEMP]");
        let reply = system.try_deliver("alice@example.test", &message("x", "x\r\n")).unwrap_err();
        assert!(reply.starts_with("451 4."), "{reply}");
        drill.dynamodb.bring_up();
        wait_until("the maildrop can be seen", || {
            waiting.ask("USER alice@example.test", "+OK").unwrap();
            waiting.ask(&format!("PASS {}", puro_e2e::PASSWORD), "+OK").ok()
        });
        waiting.command("STAT", "+OK 1 ");
        assert_eq!(system.fetch("alice").len(), 1);
    }

    fn dynamodb_refuses(drill) {
        outage(drill, &drill.dynamodb);
    }

    fn s3_refuses(drill) {
        outage(drill, &drill.s3);
    }

    /// It takes requests and never answers: to be told from a slow one by nothing but time.
    fn dynamodb_is_silent(drill) {
        all(drill, &drill.dynamodb, SILENCE);
    }

    fn s3_is_silent(drill) {
        all(drill, &drill.s3, SILENCE);
    }

    fn dynamodb_throttles(drill) {
        all(drill, &drill.dynamodb, Fault::Throttle);
    }

    fn s3_throttles(drill) {
        all(drill, &drill.s3, Fault::Throttle);
    }

    fn dynamodb_does_and_says_500(drill) {
        all(drill, &drill.dynamodb, Fault::ErrorAfter);
    }

    fn s3_does_and_says_500(drill) {
        all(drill, &drill.s3, Fault::ErrorAfter);
    }

    fn dynamodb_cuts_its_answers(drill) {
        all(drill, &drill.dynamodb, Fault::CutAnswer);
    }

    fn s3_cuts_its_answers(drill) {
        all(drill, &drill.s3, Fault::CutAnswer);
    }
}

/// A message of several parts of which one cannot be stored: the sender is told, and the parts before are given back.
#[test]
fn a_multipart_upload_fails_half_way() {
    let drill = Drill::start(Mode::Single);
    let mail = big(1);
    for fault in [Fault::ErrorBefore, Fault::Throttle, Fault::ResetAfter] {
        drill.s3.forget_counts();
        drill.s3.set(Rule::new(fault).on(&["UploadPart"]));
        let reply = drill.system.try_deliver("alice@example.test", &mail).expect_err("it cannot be kept");
        assert!(reply.starts_with("451 4."), "{fault:?}: {reply}");
        wait_until("the upload is aborted", || {
            (drill.s3.requests_of("AbortMultipartUpload") > 0).then_some(())
        });
        assert_eq!(drill.s3.requests_of("CompleteMultipartUpload"), 0);
        drill.s3.clear();
        assert!(drill.system.fetch("alice").is_empty());
    }
    wait_until("it is taken", || drill.system.try_deliver("alice@example.test", &mail).ok());
    assert!(drill.system.fetch("alice")[0].ends_with(&mail));
}

/// Whatever breaks while a big message is read, the reader gets it whole or sees that it is not.
#[test]
fn reading_a_big_message_breaks() {
    let drill = Drill::start(Mode::Single);
    let mail = big(2);
    drill.system.deliver("alice@example.test", &mail);
    for fault in [Fault::CutAnswer, Fault::ResetBefore, Fault::ErrorBefore, Fault::Throttle] {
        for at_most in [1, u64::MAX] {
            drill.s3.set(Rule::new(fault).on(&["GetObject"]).at_most(at_most));
            let before = drill.s3.faults();
            let mut pop3 = drill.system.pop3_as("alice");
            match pop3.ask("RETR 1", "+OK") {
                Ok(_) => {
                    let read = pop3.try_multi_line();
                    assert!(read.is_none_or(|whole| whole.ends_with(&mail)), "{fault:?}: another message");
                }
                Err(reply) => assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{fault:?}: {reply}"),
            }
            assert!(drill.s3.faults() > before, "{fault:?}");
            drill.s3.clear();
            wait_until("it can be read", || {
                let mut pop3 = drill.system.pop3_as("alice");
                pop3.ask("RETR 1", "+OK").ok()?;
                assert!(pop3.multi_line().ends_with(&mail));
                Some(())
            });
        }
    }
}

/// 20 MB that do not compress.
fn big(seed: usize) -> Vec<u8> {
    let mut mail = message("big", "");
    mail.extend(random_octets(seed, 20_000_000));
    mail
}

/// Longer than anybody waits.
const SILENCE: Fault = Fault::Delay(Duration::from_secs(600));

/// Nothing gets through: senders and readers are told so as long as it lasts.
fn outage(drill: &Drill, store: &FaultProxy) {
    drill.under_load(|watch| {
        store.take_down();
        watch.more_put_off(6);
        watch.more_turned_away(3);
    });
}

/// Each request meets the fault.
fn all(drill: &Drill, store: &FaultProxy, fault: Fault) {
    drill.under_load(|watch| {
        store.set(fault);
        watch.more_faults(store, 8);
        watch.more_put_off(4);
    });
}

/// Part of the requests meet a fault of one kind, the others pass: what was begun has to be finished, or begun anew.
fn some(mode: Mode, faults: &[Fault]) {
    let drill = Drill::start(mode);
    for (seed, fault) in (1..).zip(faults) {
        println!("{fault:?}, seed {seed}");
        storm(&drill, || Plan::seeded(seed).with(Rule::new(*fault).per_mille(250)));
    }
}

/// Any request may meet any fault.
fn mixtures(mode: Mode, seeds: impl IntoIterator<Item = u64>) {
    let drill = Drill::start(mode);
    for seed in seeds {
        println!("a mixture, PURO_TEST_SEED={seed}");
        // A few faults among much that works, and so many that little does.
        let per_mille = if seed % 2 == 0 { 100 } else { 400 };
        storm(&drill, || Plan::mixture(seed, per_mille));
    }
}

fn storm(drill: &Drill, plan: impl Fn() -> Plan) {
    drill.under_load(|watch| {
        drill.dynamodb.set(plan());
        drill.s3.set(plan());
        watch.more_faults(&drill.dynamodb, 100);
        watch.more_faults(&drill.s3, 10);
    });
}

#[test]
fn some_requests_are_reset() {
    some(Mode::Four, &[Fault::ResetBefore, Fault::ResetAfter]);
}

#[test]
fn some_requests_fail() {
    some(Mode::Four, &[Fault::ErrorBefore, Fault::ErrorAfter]);
}

#[test]
fn some_requests_are_throttled_or_late() {
    some(Mode::Single, &[Fault::Throttle, Fault::Delay(Duration::from_millis(700))]);
}

/// Of each operation all requests fail, done or not, while the others pass.
#[test]
fn one_operation_fails() {
    let drill = Drill::start(Mode::Four);
    for (store, operations) in [
        (&drill.dynamodb, &["GetItem", "PutItem", "UpdateItem", "Query"][..]),
        (&drill.s3, &["PutObject", "GetObject"]),
    ] {
        for operation in operations {
            println!("{operation}");
            drill.under_load(|watch| {
                store.set(Rule::new(Fault::ErrorAfter).on(&[operation]));
                watch.more_faults(store, 8);
            });
        }
    }
}

/// Requests that were given up come to the store when others have overtaken them.
#[test]
fn some_requests_come_late() {
    some(Mode::Four, &[Fault::Late(Duration::from_millis(300)), Fault::Late(Duration::from_secs(2))]);
}

#[test]
fn some_answers_are_cut() {
    some(Mode::Single, &[Fault::CutAnswer]);
}

#[test]
fn mixtures_before_one_process() {
    mixtures(Mode::Single, 1..=2);
}

#[test]
fn mixtures_before_four() {
    mixtures(Mode::Four, 3..=4);
}

/// Another mixture in each run; the seed in the output makes it come again.
#[test]
fn a_mixture_of_the_day() {
    let told = std::env::var("PURO_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    mixtures(Mode::Four, [told.unwrap_or(u64::from(now.subsec_nanos()))]);
}
