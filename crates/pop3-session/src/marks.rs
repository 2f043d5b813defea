//! Deletion marks: one bit a message, no memory before the first.

/// Which messages of a snapshot are marked as deleted.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    words: Vec<u64>,
}

impl Marks {
    /// Says whether the message at `index` is marked.
    pub(crate) fn contains(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// Marks the message at `index`.
    pub(crate) fn insert(&mut self, index: usize) {
        let word = index / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (index % 64);
    }

    /// Forgets all marks.
    pub(crate) fn clear(&mut self) {
        self.words = Vec::new();
    }

    /// Returns the marked indices in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| at * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_there_in_order_and_nothing_else() {
        let mut marks = Marks::default();
        assert!(!marks.contains(0) && !marks.contains(1_000_000));
        for index in [130, 0, 63, 64, 130] {
            marks.insert(index);
        }
        assert_eq!(marks.iter().collect::<Vec<_>>(), [0, 63, 64, 130]);
        assert!(marks.contains(64) && !marks.contains(65) && !marks.contains(131));
        marks.clear();
        assert_eq!(marks.iter().count(), 0);
    }
}
