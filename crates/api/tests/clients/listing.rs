//! A listing is put together from its pages, however it was cut.

use futures_util::{StreamExt, stream};
use proptest::{collection::vec, prelude::*};
use puro_api::{
    MaildropClient, Settings,
    model::{Listing, Message},
    pb::metadata::v1 as pb,
};
use puro_types::{MailboxId, MessageId, TransactionId};

use crate::scripted::{Script, Scripted, location, step};

fn message(number: u64) -> Message {
    let mailbox = MailboxId::new([1; 12]);
    Message {
        id: MessageId::new(number, &TransactionId::new(number, [1; 11]), &mailbox),
        size_bytes: number,
        location: location().try_into().unwrap(),
    }
}

/// Asks a server that has these pages.
fn list(pages: Vec<pb::ListResponse>) -> Result<Listing, puro_api::Failure> {
    let server = Scripted::new(Script {
        list: step(move |_, _| {
            let pages = pages.clone();
            async move { Ok(stream::iter(pages.into_iter().map(Ok)).boxed()) }
        }),
        ..Script::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = MaildropClient::new(server.in_process(Settings::default()));
        client.list(&MailboxId::new([1; 12]), 0).await
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_of_any_length_make_one_listing(
        version in any::<u64>(),
        lengths in vec(0..40_usize, 1..6),
        spoilt in any::<prop::sample::Index>(),
    ) {
        let messages: Vec<_> = (0..lengths.iter().sum::<usize>() as u64).map(message).collect();
        let mut rest = messages.clone().into_iter();
        let page = |length| {
            let messages = rest.by_ref().take(length).map(Into::into).collect();
            pb::ListResponse { version, unchanged: false, messages }
        };
        let pages: Vec<_> = lengths.into_iter().map(page).collect();
        prop_assert_eq!(list(pages.clone()), Ok(Listing::Current { version, messages: messages.clone() }));
        // One wrong message anywhere, and there is no listing.
        let mut wrong = pages;
        let mut all = wrong.iter_mut().flat_map(|page| &mut page.messages);
        let Some(message) = all.nth(spoilt.index(messages.len().max(1))) else { return Ok(()) };
        message.location = None;
        prop_assert!(matches!(list(wrong), Err(puro_api::Failure::Internal(_))));
    }
}
