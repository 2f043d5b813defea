//! What travels comes back as it went; and whatever arrives is taken or refused, and does no harm.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Debug;

use proptest::{collection::vec, option, prelude::*, sample::select};
use prost::Message as Wire;
use puro_api::{
    model::{
        Account, Alias, ConfigEntry, Delivered, Delivery, Domain, LeftOut, Message, NewUser, Part, Refusal,
        Removal, Resolution, Segment, StoreStatus, Target, Targets, User, UserStatus,
    },
    pb::{blob::v1 as blob, metadata::v1 as metadata},
};
use puro_types::{
    ByteSize, Codec, DomainName, EmailAddress, Frame, Location, MailboxId, MessageId, TransactionId,
};

/// Sends a value as octets, and returns what is made of them.
fn sent<W, D>(value: &D) -> D
where
    W: Wire + Default + From<D>,
    D: Clone + TryFrom<W, Error: Debug>,
{
    let octets = W::from(value.clone()).encode_to_vec();
    W::decode(octets.as_slice()).unwrap().try_into().unwrap()
}

/// Takes octets as they come. A value made of them travels like any other.
fn taken<W, D>(octets: &[u8])
where
    W: Wire + Default + From<D>,
    D: Clone + Debug + PartialEq + TryFrom<W, Error: Debug>,
{
    let value = W::decode(octets).ok().and_then(|wire| D::try_from(wire).ok());
    if let Some(value) = value {
        assert_eq!(sent::<W, D>(&value), value);
    }
}

fn frame() -> impl Strategy<Value = Frame> {
    // Three of these and an offset are still a number.
    let octets = || prop_oneof![Just(0), 0..100_000_000_u64, 0..u64::MAX / 4];
    (octets(), octets(), any::<bool>(), any::<u32>()).prop_map(|(stored_length, length, plain, checksum)| {
        match plain {
            true => Frame { stored_length, length: stored_length, codec: Codec::Plain, checksum },
            false => Frame { stored_length, length, codec: Codec::Zstd, checksum },
        }
    })
}

fn location() -> impl Strategy<Value = Location> {
    let slots = (0..u32::MAX).prop_flat_map(|slot| (Just(slot), slot + 1..=u32::MAX));
    ("\\PC{0,60}", "\\PC{1,250}", 0..u64::MAX / 4, frame(), frame(), slots).prop_map(
        |(bucket, object_name, offset, header, body, (slot, slots))| Location {
            bucket,
            object_name,
            offset,
            header,
            body,
            slot,
            slots,
        },
    )
}

fn domain_name() -> impl Strategy<Value = DomainName> {
    let literal = prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(|ip| format!("[{ip}]")),
        any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[IPv6:{ip}]")),
    ];
    let name = prop_oneof![
        "[A-Za-z0-9]{1,20}(\\.[a-z0-9]([a-z0-9_-]{0,10}[a-z0-9])?){0,4}\\.?",
        "[\\p{L}\\p{N}]{1,12}\\.[\\p{L}\\p{N}]{1,12}",
        // The small forms of these are longer, or not a letter alone.
        "[\u{23a}\u{130}\u{3a3}aZ]{1,40}",
        literal,
    ];
    name.prop_filter_map("no domain", |text| text.parse().ok())
}

fn email() -> impl Strategy<Value = EmailAddress> {
    let local = prop_oneof!["[A-Za-z0-9.+_-]{1,20}", "[ -~]{1,64}", "\\PC{1,20}", "[\\\\\"@. ]{1,10}"];
    (local, domain_name())
        .prop_filter_map("no local part", |(local, domain)| EmailAddress::from_parts(&local, domain).ok())
}

fn mailbox() -> impl Strategy<Value = MailboxId> {
    any::<[u8; 12]>().prop_map(MailboxId::new)
}

fn transaction() -> impl Strategy<Value = TransactionId> {
    (any::<u64>(), any::<[u8; 11]>()).prop_map(|(time, random)| TransactionId::new(time, random))
}

fn message() -> impl Strategy<Value = Message> {
    (any::<u64>(), transaction(), mailbox(), any::<u64>(), location()).prop_map(
        |(time, transaction, mailbox, size_bytes, location)| Message {
            id: MessageId::new(time, &transaction, &mailbox),
            size_bytes,
            location,
        },
    )
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (transaction(), any::<u64>(), vec(mailbox(), 1..8), location()).prop_map(
        |(transaction, accepted_ms, mailboxes, location)| Delivery {
            transaction,
            accepted_ms,
            mailboxes,
            location,
        },
    )
}

fn removal() -> impl Strategy<Value = Removal> {
    (mailbox(), vec(message(), 0..6)).prop_map(|(mailbox, messages)| Removal { mailbox, messages })
}

fn resolution() -> impl Strategy<Value = Resolution> {
    use Refusal::{AliasLoop, Disabled, NotLocal, OverQuota, UnknownUser};
    let target = (mailbox(), email()).prop_map(|(mailbox, email)| Target { mailbox, email });
    let refusal = select(vec![UnknownUser, NotLocal, OverQuota, Disabled, AliasLoop]);
    let left_out =
        (option::of(mailbox()), refusal.clone()).prop_map(|(mailbox, reason)| LeftOut { mailbox, reason });
    let targets = (vec(target, 1..6), vec(left_out, 0..4));
    prop_oneof![
        targets.prop_map(|(targets, left_out)| Resolution::Targets(Targets { targets, left_out })),
        refusal.prop_map(Resolution::Refusal),
    ]
}

fn user() -> impl Strategy<Value = User> {
    let quota = option::of((1..u64::MAX).prop_map(ByteSize));
    let status = select(vec![UserStatus::Active, UserStatus::Disabled]);
    (email(), "\\PC{0,20}", "\\PC{0,20}", mailbox(), quota, status, any::<[u64; 3]>()).prop_map(
        |(email, first_name, last_name, mailbox, quota, status, [messages, bytes, updated_ms])| User {
            email,
            first_name,
            last_name,
            mailbox,
            quota,
            status,
            messages,
            bytes,
            updated_ms,
        },
    )
}

proptest! {
    #[test]
    fn locations_and_frames_come_back(location in location(), frame in frame()) {
        prop_assert_eq!(sent::<blob::Frame, _>(&frame), frame);
        prop_assert_eq!(sent::<blob::Location, _>(&location), location.clone());
        for (asked, part) in [
            (blob::Part::Header, Part::Header),
            (blob::Part::Body, Part::Body),
            (blob::Part::Message, Part::Message),
        ] {
            let wire = blob::ReadRequest { location: Some(location.clone().into()), part: asked.into() };
            prop_assert_eq!(wire.try_into(), Ok((location.clone(), part)));
        }
    }

    #[test]
    fn messages_removals_and_deliveries_come_back(
        message in message(),
        removal in removal(),
        delivery in delivery(),
        delivered in any::<[u32; 2]>(),
    ) {
        prop_assert_eq!(sent::<metadata::Message, _>(&message), message.clone());
        prop_assert_eq!(sent::<metadata::RemoveMessage, _>(&message), message);
        prop_assert_eq!(sent::<metadata::RemoveRequest, _>(&removal), removal);
        prop_assert_eq!(sent::<metadata::DeliverRequest, _>(&delivery), delivery);
        let delivered = Delivered { delivered: delivered[0], queued: delivered[1] };
        prop_assert_eq!(sent::<metadata::DeliverResponse, _>(&delivered), delivered);
    }

    #[test]
    fn accounts_and_resolutions_come_back(
        email in email(),
        mailbox in mailbox(),
        resolution in resolution(),
    ) {
        let account = Account { email, mailbox };
        prop_assert_eq!(sent::<metadata::AuthenticateResponse, _>(&account), account);
        prop_assert_eq!(sent::<metadata::ResolveResponse, _>(&resolution), resolution);
    }

    #[test]
    fn what_operators_see_comes_back(
        user in user(),
        name in domain_name(),
        catch_all in option::of(email()),
        targets in vec(email(), 0..5),
        text in "\\PC{0,40}",
        numbers in any::<[u64; 2]>(),
    ) {
        let alias = Alias { email: user.email.clone(), targets };
        prop_assert_eq!(sent::<metadata::Alias, _>(&alias), alias);
        prop_assert_eq!(sent::<metadata::User, _>(&user), user);
        let domain = Domain { name, catch_all };
        prop_assert_eq!(sent::<metadata::Domain, _>(&domain), domain);
        let entry = ConfigEntry { name: text.clone(), value: text.clone() };
        prop_assert_eq!(sent::<metadata::ConfigEntry, _>(&entry), entry);
        let status = StoreStatus { store: text.clone(), domains: numbers[0], users: numbers[1] };
        prop_assert_eq!(sent::<metadata::CheckResponse, _>(&status), status);
        let segment = Segment { object_name: text, size_bytes: numbers[0], created_ms: numbers[1] };
        prop_assert_eq!(sent::<blob::Segment, _>(&segment), segment);
    }
}

/// Numbers at which sums overflow and comparisons turn.
fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![select(vec![0, 1, 2, u64::MAX / 2, u64::MAX - 1, u64::MAX]), any::<u64>()]
}

fn wire_frame() -> impl Strategy<Value = blob::Frame> {
    let codec = prop_oneof![0..4_i32, any::<i32>()];
    (edge(), edge(), codec, any::<bool>()).prop_map(|(stored_length, length, codec, equal)| blob::Frame {
        stored_length,
        length: if equal { stored_length } else { length },
        codec,
        checksum: 0,
    })
}

fn wire_location() -> impl Strategy<Value = blob::Location> {
    let name = prop_oneof![Just(0), 1..5_usize, 1023..1026_usize];
    let bucket = prop_oneof![0..3_usize, 255..257_usize];
    let slot = || prop_oneof![0..4_u32, Just(u32::MAX)];
    (name, bucket, edge(), option::of(wire_frame()), option::of(wire_frame()), slot(), slot()).prop_map(
        |(name, bucket, offset, header, body, slot, slots)| blob::Location {
            bucket: "b".repeat(bucket),
            object_name: "n".repeat(name),
            offset,
            header,
            body,
            slot,
            slots,
        },
    )
}

fn is_frame(wire: &blob::Frame) -> bool {
    match wire.codec {
        1 => wire.stored_length == wire.length,
        2 => true,
        _ => false,
    }
}

fn is_location(wire: &blob::Location) -> bool {
    let (Some(header), Some(body)) = (&wire.header, &wire.body) else { return false };
    let sum = |numbers: &[u64]| numbers.iter().copied().map(u128::from).sum::<u128>();
    is_frame(header)
        && is_frame(body)
        && (1..=1024).contains(&wire.object_name.len())
        && wire.bucket.len() <= 255
        && wire.slot < wire.slots
        && sum(&[wire.offset, header.stored_length, body.stored_length]) <= u64::MAX.into()
        && sum(&[header.length, body.length]) <= u64::MAX.into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_location_is_taken_if_and_only_if_it_can_be_one(wire in wire_location()) {
        let outcome = Location::try_from(wire.clone());
        prop_assert_eq!(outcome.is_ok(), is_location(&wire), "{:?}", outcome);
        if let Ok(location) = outcome {
            // Where these are computed, nothing overflows.
            prop_assert!(location.size_bytes() >= location.header.length);
            prop_assert!(location.offset.checked_add(location.stored_length()).is_some());
            prop_assert_eq!(blob::Location::from(location), wire);
        }
    }
}

/// Octets of every kind, read as every message that crosses the wire.
fn read_as_anything(octets: &[u8]) {
    taken::<blob::Frame, Frame>(octets);
    taken::<blob::Location, Location>(octets);
    taken::<blob::Segment, Segment>(octets);
    taken::<metadata::Message, Message>(octets);
    taken::<metadata::RemoveMessage, Message>(octets);
    taken::<metadata::RemoveRequest, Removal>(octets);
    taken::<metadata::DeliverRequest, Delivery>(octets);
    taken::<metadata::DeliverResponse, Delivered>(octets);
    taken::<metadata::AuthenticateResponse, Account>(octets);
    taken::<metadata::ResolveResponse, Resolution>(octets);
    taken::<metadata::User, User>(octets);
    taken::<metadata::Domain, Domain>(octets);
    taken::<metadata::Alias, Alias>(octets);
    taken::<metadata::ConfigEntry, ConfigEntry>(octets);
    taken::<metadata::CheckResponse, StoreStatus>(octets);
    let _ = blob::StoreResponse::decode(octets).map(Location::try_from);
    let _ = blob::ReadRequest::decode(octets).map(<(Location, Part)>::try_from);
    let _ = metadata::AddUserRequest::decode(octets).map(NewUser::try_from);
}

/// The octets of something good.
fn good() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        location().prop_map(|value| blob::Location::from(value).encode_to_vec()),
        removal().prop_map(|value| metadata::RemoveRequest::from(value).encode_to_vec()),
        delivery().prop_map(|value| metadata::DeliverRequest::from(value).encode_to_vec()),
        resolution().prop_map(|value| metadata::ResolveResponse::from(value).encode_to_vec()),
        user().prop_map(|value| metadata::User::from(value).encode_to_vec()),
    ]
}

proptest! {
    #[test]
    fn any_octets_do_no_harm(octets in vec(any::<u8>(), 0..200)) {
        read_as_anything(&octets);
    }

    #[test]
    fn spoilt_octets_do_no_harm(
        octets in good(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut octets = octets;
        for (place, octet) in changes {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        if cuts {
            octets.truncate(cut.index(octets.len()));
        }
        read_as_anything(&octets);
    }
}
