//! Query and scan: order, bounds, pages, and partitions that stay apart.

use super::{super::*, *};

pub(super) async fn suite(store: &dyn ItemStore) {
    a_query_is_ordered_by_octets(store).await;
    bounds_are_exclusive(store).await;
    a_limit_makes_pages(store).await;
    a_page_ends_at_one_megabyte(store).await;
    partitions_are_apart(store).await;
    an_empty_partition_is_an_empty_page(store).await;
    deleted_items_are_not_listed(store).await;
    a_table_without_sort_key_answers_too(store).await;
    a_scan_covers_the_table(store).await;
}

/// Sort keys in the order of their octets; UTF-16 would put the last two the other way round.
const ORDERED: [&str; 8] = ["\u{1}", "0", "00", "a", "b\0c", "ba", "\u{ffee}", "\u{10000}"];

async fn fill(store: &dyn ItemStore, partition: &str, sorts: &[&str]) {
    for sort in sorts {
        let item = item([("is", text(sort))]);
        store.put(Table::MetaMail, key(partition, sort), item, always()).await.unwrap();
    }
}

fn sorts(page: &Page) -> Vec<&str> {
    page.items.iter().map(|(key, _)| key.sort.as_str()).collect()
}

async fn follow(store: &dyn ItemStore, mut query: Query) -> (Vec<Page>, Vec<String>) {
    let (mut pages, mut found) = (Vec::new(), Vec::new());
    loop {
        let page = store.query(&query).await.unwrap();
        found.extend(page.items.iter().map(|(key, _)| key.sort.clone()));
        let next = page.next.clone();
        pages.push(page);
        match next {
            Some(next) => {
                assert_eq!(next.partition, query.partition);
                assert!(next.sort > query.after, "no progress after {:?}", query.after);
                query.after = next.sort;
            }
            None => return (pages, found),
        }
    }
}

async fn a_query_is_ordered_by_octets(store: &dyn ItemStore) {
    let mut shuffled = ORDERED;
    shuffled.reverse();
    shuffled.swap(1, 5);
    fill(store, "query/order", &shuffled).await;
    let page = store.query(&all_of(Table::MetaMail, "query/order")).await.unwrap();
    assert_eq!(sorts(&page), ORDERED);
    for (key, item) in &page.items {
        assert_eq!((key.partition.as_str(), item.get("is")), ("query/order", Some(&text(&key.sort))));
    }
    let eventual = Query { consistency: Consistency::Eventual, ..all_of(Table::MetaMail, "query/order") };
    store.query(&eventual).await.unwrap();
}

async fn bounds_are_exclusive(store: &dyn ItemStore) {
    fill(store, "query/bounds", &["a", "b", "c", "d"]).await;
    let cases: [(&str, Option<&str>, &[&str]); 9] = [
        ("", None, &["a", "b", "c", "d"]),
        ("b", None, &["c", "d"]),
        ("bb", None, &["c", "d"]),
        ("d", None, &[]),
        ("", Some("c"), &["a", "b"]),
        ("", Some("cc"), &["a", "b", "c"]),
        ("a", Some("d"), &["b", "c"]),
        ("b", Some("b"), &[]),
        ("c", Some("a"), &[]),
    ];
    for (after, before, expected) in cases {
        let query = Query {
            after: after.into(),
            before: before.map(str::to_owned),
            ..all_of(Table::MetaMail, "query/bounds")
        };
        let page = store.query(&query).await.unwrap();
        assert_eq!((sorts(&page).as_slice(), &page.next), (expected, &None), "{after:?}..{before:?}");
    }
}

async fn a_limit_makes_pages(store: &dyn ItemStore) {
    fill(store, "query/limit", &ORDERED).await;
    for limit in 1..=ORDERED.len() + 1 {
        let (pages, found) = follow(store, Query { limit, ..all_of(Table::MetaMail, "query/limit") }).await;
        assert_eq!(found, ORDERED, "limit {limit}");
        assert!(pages.iter().all(|page| page.items.len() <= limit));
        // A store may find out only with one more, empty page that there is nothing left.
        assert!(pages.len() <= ORDERED.len() / limit + 1, "limit {limit}: {} pages", pages.len());
    }
    let bounded = Query { limit: 2, before: Some("ba".into()), ..all_of(Table::MetaMail, "query/limit") };
    assert_eq!(follow(store, bounded).await.1, ORDERED[..5]);
}

async fn a_page_ends_at_one_megabyte(store: &dyn ItemStore) {
    let names: Vec<String> = (0..5).map(|n| format!("m{n}")).collect();
    let large = item([("o", Value::Octets(vec![7; 300 * 1024].into()))]);
    for name in &names {
        store.put(Table::MetaMail, key("query/large", name), large.clone(), always()).await.unwrap();
    }
    let (pages, found) = follow(store, all_of(Table::MetaMail, "query/large")).await;
    assert_eq!(found, names);
    // Whether the item that crosses the line is in the page or in the next is the store's own.
    assert!((3..=4).contains(&pages[0].items.len()), "{} items of 300 KB in 1 MB", pages[0].items.len());
}

async fn partitions_are_apart(store: &dyn ItemStore) {
    // Each is a prefix of another, or would be if the two parts of a key were merely joined.
    let partitions = ["p", "p\0", "p\0\0", "p\u{1}", "pa", "pab", "é", "\u{10ffff}", "p/é"];
    for partition in partitions {
        fill(store, partition, &["a", "ab", "\0", "\0\0p", "\u{10ffff}", "é"]).await;
    }
    for partition in partitions {
        let page = store.query(&all_of(Table::MetaMail, partition)).await.unwrap();
        assert_eq!(sorts(&page), ["\0", "\0\0p", "a", "ab", "é", "\u{10ffff}"], "{partition:?}");
        assert!(page.items.iter().all(|(key, _)| key.partition == partition));
        let other = store.get(Table::MetaMail, &key(partition, "b"), Consistency::Strong).await;
        assert_eq!(other, Ok(None));
    }
}

async fn an_empty_partition_is_an_empty_page(store: &dyn ItemStore) {
    let page = store.query(&all_of(Table::MetaMail, "query/nobody")).await.unwrap();
    assert_eq!(page, Page::default());
}

async fn deleted_items_are_not_listed(store: &dyn ItemStore) {
    fill(store, "query/deleted", &["a", "b", "c"]).await;
    store.delete(Table::MetaMail, key("query/deleted", "b"), always()).await.unwrap();
    let (pages, found) = follow(store, Query { limit: 1, ..all_of(Table::MetaMail, "query/deleted") }).await;
    assert_eq!(found, ["a", "c"]);
    assert!(pages.iter().filter(|page| page.items.is_empty()).count() <= 1);
}

async fn a_table_without_sort_key_answers_too(store: &dyn ItemStore) {
    store.put(Table::Config, key("query/config", ""), item([("v", text("1"))]), always()).await.unwrap();
    store.put(Table::Config, key("query/config2", ""), item([]), always()).await.unwrap();
    let page = store.query(&all_of(Table::Config, "query/config")).await.unwrap();
    assert_eq!(page.items, [(key("query/config", ""), item([("v", text("1"))]))]);
    assert_eq!(page.next, None);
}

async fn a_scan_covers_the_table(store: &dyn ItemStore) {
    let mut expected = BTreeSet::new();
    for n in 0..25 {
        let key = key(&format!("scan/{n}"), "");
        store.put(Table::Segment, key.clone(), item([("n", Value::Number(n))]), always()).await.unwrap();
        expected.insert(key);
    }
    for limit in [0, 1, 7, 25, 26] {
        let (mut found, mut after) = (BTreeSet::new(), None);
        loop {
            let page = store.scan(Table::Segment, after.as_ref(), limit).await.unwrap();
            assert!(limit == 0 || page.items.len() <= limit);
            // A shared store may hold other items.
            let ours = page.items.into_iter().filter(|(key, _)| key.partition.starts_with("scan/"));
            for (key, item) in ours {
                let number = Value::Number(key.partition.trim_start_matches("scan/").parse().unwrap());
                assert_eq!(item.get("n"), Some(&number));
                assert!(found.insert(key), "an item came twice");
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "limit {limit}");
    }
}
