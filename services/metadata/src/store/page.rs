//! Fills a page up to the caller's limit and the 1 MB that every store keeps to.

use super::{Item, Key, Page, Table, size};

/// A page being filled.
#[derive(Debug)]
pub(super) struct Filling {
    table: Table,
    limit: usize,
    bytes: usize,
    page: Page,
}

impl Filling {
    /// Begins a page of at most `limit` items; 0 bounds it by octets alone.
    pub(super) fn new(table: Table, limit: usize) -> Self {
        let limit = if limit == 0 { usize::MAX } else { limit };
        Self { table, limit, bytes: 0, page: Page::default() }
    }

    /// Takes an item, or ends the page before it and returns false.
    pub(super) fn push(&mut self, key: Key, item: Item) -> bool {
        self.bytes = self.bytes.saturating_add(size::item_bytes(self.table, &key, &item));
        let full = self.page.items.len() >= self.limit || self.bytes > size::MAX_PAGE_BYTES;
        // An item larger than a page would never be passed, so the first one always goes in.
        if full && !self.page.items.is_empty() {
            self.page.next = self.page.items.last().map(|(key, _)| key.clone());
            return false;
        }
        self.page.items.push((key, item));
        true
    }

    /// Returns the page; it is the last one unless an item was refused.
    pub(super) fn finish(self) -> Page {
        self.page
    }
}
