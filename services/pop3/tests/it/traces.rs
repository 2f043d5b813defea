//! Which trace each call to a back end is part of.

use puro_scripted::{Services, Traces};

use crate::client::Front;

#[tokio::test]
async fn a_login_a_retrieval_and_a_removal_are_a_trace_each() {
    let _traces = Traces::begin();
    let services = Services::with(&["a: 1\r\n\r\ntext\r\n", "b\r\n\r\n"]);
    Front::new(&services).logged_in("RETR 1\r\nTOP 2 0\r\nDELE 2\r\nQUIT\r\n").await;
    let expected = [("authenticate", 0), ("list", 0), ("read", 1), ("read", 2), ("remove", 3)]
        .map(|(method, trace)| (method, Some(trace)));
    assert_eq!(services.calls(), expected);
}

#[tokio::test]
async fn what_became_of_a_message_is_asked_in_its_trace() {
    let _traces = Traces::begin();
    let services = Services::with(&["a: 1\r\n\r\nmore than sixteen octets of text\r\n"]);
    services.state().breaks = Some((20, puro_api::Failure::DataLoss("torn".to_owned())));
    Front::new(&services).logged_in("RETR 1\r\nQUIT\r\n").await;
    let expected = [("authenticate", Some(0)), ("list", Some(0)), ("read", Some(1)), ("list", Some(1))];
    assert_eq!(services.calls(), expected);
}

#[tokio::test]
async fn without_a_collector_nothing_is_traced() {
    Traces::without_collector();
    let services = Services::with(&["a\r\n\r\n"]);
    Front::new(&services).logged_in("RETR 1\r\nQUIT\r\n").await;
    assert_eq!(services.calls(), [("authenticate", None), ("list", None), ("read", None)]);
}
