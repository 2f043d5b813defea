//! What every store of segments must do, whichever it is and whatever wraps it.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures_util::{TryStreamExt, future::join_all};

use super::{CHUNK_MAX, SegmentStore, StoreError};

/// Opens the store; called again after the last one was dropped, it opens the same segments.
pub(crate) type Open = Box<dyn Fn() -> Arc<dyn SegmentStore> + Send + Sync>;

/// Runs the whole suite.
pub(crate) async fn run(open: Open) {
    let store = open();
    assert!(!store.kind().is_empty());
    put_and_ranges(&*store).await;
    absent_and_hostile_names(&*store).await;
    deletion(&*store).await;
    listing(&*store).await;
    large_segments(&*store).await;
    dropped_writers(&*store).await;
    concurrent_puts(&store).await;
    drop(store);
    names_are_never_given_again(&open).await;
}

/// Octets that differ from place to place and do not compress.
pub(crate) fn octets(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect::<Vec<u8>>().into()
}

/// Reads a range whole, and checks that no chunk is too long.
pub(crate) async fn read(
    store: &dyn SegmentStore,
    name: &str,
    range: std::ops::Range<u64>,
) -> Result<Bytes, StoreError> {
    let chunks: Vec<Bytes> = store.read(name, range).await?.try_collect().await?;
    assert!(chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())));
    Ok(chunks.concat().into())
}

async fn put(store: &dyn SegmentStore, octets: &Bytes) -> String {
    store.put(vec![octets.clone()]).await.unwrap().object_name
}

async fn put_and_ranges(store: &dyn SegmentStore) {
    for length in [0, 1, 5000, CHUNK_MAX, CHUNK_MAX + 1, 700_000] {
        let whole = octets(length, 1);
        // In pieces, empty ones among them.
        let (a, b) = (whole.slice(..length / 3), whole.slice(length / 3..));
        let name = store.put(vec![Bytes::new(), a, Bytes::new(), b]).await.unwrap().object_name;
        let end = length as u64;
        for range in [0..end, 0..0, end..end, end / 2..end, 0..end / 2, end / 3..end / 2] {
            let (from, to) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
            assert_eq!(read(store, &name, range).await.unwrap(), whole.slice(from..to));
        }
        #[allow(clippy::reversed_empty_ranges)] // That is what is tested.
        for range in
            [0..end + 1, end + 1..end + 1, end + 1..end + 2, 1..0, u64::MAX - 1..u64::MAX, 0..u64::MAX]
        {
            let outcome = read(store, &name, range.clone()).await;
            assert!(matches!(outcome, Err(StoreError::NotFound(_))), "{range:?} of {length}: {outcome:?}");
        }
    }
}

async fn absent_and_hostile_names(store: &dyn SegmentStore) {
    let name = put(store, &octets(100, 2)).await;
    let mut others: Vec<String> =
        ["", ".", "..", "../../etc/passwd", "/etc/passwd", "LOCK", "numbers", "a\0b", "\u{1f600}", "%2e%2e"]
            .map(String::from)
            .into();
    others.push("x".repeat(100_000));
    others.push(format!("{name}\0"));
    others.push(format!("{name}/"));
    others.push(format!(" {name}"));
    others.push(name[..name.len() - 1].to_owned());
    // The right form, but nothing is there.
    others.push(name.replace('0', "7"));
    for other in others {
        for range in [0..0, 0..1] {
            let outcome = read(store, &other, range).await;
            let refused = matches!(outcome, Err(StoreError::NotFound(_) | StoreError::InvalidName(_)));
            assert!(refused, "{other:?}: {outcome:?}");
        }
        let outcome = store.delete(std::slice::from_ref(&other)).await;
        assert!(matches!(outcome, Ok(()) | Err(StoreError::InvalidName(_))), "{other:?}: {outcome:?}");
    }
    assert_eq!(read(store, &name, 0..100).await.unwrap(), octets(100, 2), "nothing else was touched");
}

async fn deletion(store: &dyn SegmentStore) {
    let (kept, first, second) = (
        put(store, &octets(9000, 3)).await,
        put(store, &octets(9000, 4)).await,
        put(store, &octets(10, 5)).await,
    );
    let gone = [first.clone(), second.clone(), first.clone()];
    for _ in 0..2 {
        store.delete(&gone).await.unwrap();
        for name in [&first, &second] {
            assert!(matches!(read(store, name, 0..1).await, Err(StoreError::NotFound(_))));
        }
    }
    store.delete(&[]).await.unwrap();
    assert_eq!(read(store, &kept, 0..9000).await.unwrap(), octets(9000, 3), "its neighbours are untouched");
}

/// Returns all names and sizes, a page of `limit` at a time.
pub(crate) async fn list(store: &dyn SegmentStore, limit: usize) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(after.as_deref(), limit).await.unwrap();
        assert!(page.segments.len() <= limit);
        assert!(page.segments.iter().all(|segment| segment.created_ms > 1_600_000_000_000));
        all.extend(page.segments.into_iter().map(|segment| (segment.object_name, segment.size_bytes)));
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

async fn listing(store: &dyn SegmentStore) {
    let before: BTreeSet<_> = list(store, 1000).await.into_iter().collect();
    let mut added = BTreeSet::new();
    for length in 0..50 {
        added.insert((put(store, &octets(length, 6)).await, length as u64));
    }
    for length in 50..55 {
        let mut writer = store.begin().await.unwrap();
        writer.write(octets(length, 6)).await.unwrap();
        added.insert((writer.finish().await.unwrap().object_name, length as u64));
    }
    for limit in [1, 7, 1000] {
        let all = list(store, limit).await;
        let set: BTreeSet<_> = all.iter().cloned().collect();
        assert_eq!(set.len(), all.len(), "none is listed twice");
        let new: BTreeSet<_> = set.difference(&before).cloned().collect();
        assert_eq!(new, added, "pages of {limit}");
        assert!(set.is_superset(&before));
    }
    // A page that begins where a segment was is the same as before.
    let after = added.iter().next().unwrap().0.clone();
    let expected = store.list(Some(&after), 1000).await.unwrap();
    store.delete(std::slice::from_ref(&after)).await.unwrap();
    assert_eq!(store.list(Some(&after), 1000).await.unwrap(), expected);
    assert!(!list(store, 1000).await.iter().any(|(name, _)| *name == after));
}

async fn large_segments(store: &dyn SegmentStore) {
    let length = 9_000_000;
    let whole = octets(length, 7);
    let mut writer = store.begin().await.unwrap();
    for chunk in whole.chunks(100_001) {
        writer.write(whole.slice_ref(chunk)).await.unwrap();
    }
    assert!(!list(store, 1000).await.iter().any(|(_, size)| *size == length as u64), "not before its end");
    let name = writer.finish().await.unwrap().object_name;
    assert!(list(store, 1000).await.contains(&(name.clone(), length as u64)));
    assert_eq!(read(store, &name, 0..length as u64).await.unwrap(), whole);
    assert_eq!(read(store, &name, 70_000..140_000).await.unwrap(), whole.slice(70_000..140_000));
    assert!(matches!(read(store, &name, 1..length as u64 + 1).await, Err(StoreError::NotFound(_))));
    for _ in 0..2 {
        store.delete(std::slice::from_ref(&name)).await.unwrap();
        assert!(matches!(read(store, &name, 0..1).await, Err(StoreError::NotFound(_))));
    }
    let empty = store.begin().await.unwrap().finish().await.unwrap().object_name;
    assert_eq!(read(store, &empty, 0..0).await.unwrap(), Bytes::new());
}

async fn dropped_writers(store: &dyn SegmentStore) {
    let before = list(store, 1000).await;
    for length in [0, 1000, 1_000_000] {
        let mut writer = store.begin().await.unwrap();
        writer.write(octets(length, 8)).await.unwrap();
        drop(writer);
        assert_eq!(list(store, 1000).await, before);
    }
}

async fn concurrent_puts(store: &Arc<dyn SegmentStore>) {
    let tasks = (0..64).map(|n: usize| {
        let store = store.clone();
        tokio::spawn(async move { (n, put(&*store, &octets(n * 300, n as u64)).await) })
    });
    let puts: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    let names: BTreeSet<_> = puts.iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(names.len(), 64);
    for (n, name) in puts {
        assert_eq!(read(&**store, &name, 0..n as u64 * 300).await.unwrap(), octets(n * 300, n as u64));
    }
}

async fn names_are_never_given_again(open: &Open) {
    let mut given = BTreeSet::new();
    for _ in 0..4 {
        let store = open();
        let left: Vec<_> = list(&*store, 1000).await.into_iter().map(|(name, _)| name).collect();
        given.extend(left.iter().cloned());
        // Nothing is left that could remind the store of a name.
        for batch in left.chunks(1000) {
            store.delete(batch).await.unwrap();
        }
        assert_eq!(list(&*store, 1000).await, []);
        for n in 0..250 {
            let name = put(&*store, &octets(n, n as u64)).await;
            assert!(given.insert(name.clone()), "{name} again");
            if n % 2 == 0 {
                store.delete(&[name]).await.unwrap();
            }
        }
        let name = store.begin().await.unwrap().finish().await.unwrap().object_name;
        assert!(given.insert(name.clone()), "{name} again");
    }
}
