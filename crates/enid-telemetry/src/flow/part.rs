//! A window in parts: of each no more records are in memory than fit, however much is told of the window.
//!
//! Rows of interfaces that follow each other are a part. Those of one that has more than fit are divided by
//! what makes a record, so that rows of one record are in one part. A window that is closed is divided alike
//! whenever it is.

use std::collections::{BTreeMap, BTreeSet};

use super::row::{Told, rows};
use crate::store::{Keys, Query, Store, StoreError};

/// How many rows interfaces have.
#[derive(Debug, Default)]
pub(super) struct Census {
    rows: BTreeMap<String, usize>,
    /// Those that had packets.
    pub(super) busy: BTreeSet<String>,
    /// Those of which some were not told.
    pub(super) skipped: BTreeSet<String>,
}

impl Census {
    /// Counts what a query finds.
    pub(super) fn take(store: &Store, query: &Query) -> Result<Self, StoreError> {
        let mut census = Self::default();
        let query = Query {
            columns: Some(vec!["is_skipped"]),
            ..query.clone()
        };
        for batch in store.scan(&query)? {
            for row in rows(&batch?) {
                census.add(row.eni(), row.flag("is_skipped"));
            }
        }
        Ok(census)
    }

    fn add(&mut self, eni: &str, is_skipped: bool) {
        match self.rows.get_mut(eni) {
            Some(rows) => *rows += 1,
            None => {
                self.rows.insert(eni.to_owned(), 1);
            }
        }
        let set = match is_skipped {
            true => &mut self.skipped,
            false => &mut self.busy,
        };
        if !set.contains(eni) {
            set.insert(eni.to_owned());
        }
    }

    /// The parts, each of so many rows at most as far as records can be divided.
    pub(super) fn parts(&self, rows_max: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        let (mut enis, mut sum) = (BTreeSet::new(), 0);
        for (eni, rows) in &self.rows {
            if sum + rows > rows_max && !enis.is_empty() {
                parts.push(Part::whole(std::mem::take(&mut enis)));
                sum = 0;
            }
            if *rows > rows_max {
                let of = u32::try_from(rows.div_ceil(rows_max)).unwrap_or(u32::MAX);
                parts.extend((0..of).map(|index| Part {
                    keys: Keys::one(eni),
                    share: (index, of),
                }));
                continue;
            }
            enis.insert(eni.clone());
            sum += rows;
        }
        if !enis.is_empty() {
            parts.push(Part::whole(enis));
        }
        parts
    }
}

/// A part.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The interfaces of which it tells.
    pub(super) keys: Keys,
    /// Which of how many shares of their rows.
    share: (u32, u32),
}

impl Part {
    fn whole(enis: BTreeSet<String>) -> Self {
        Self {
            keys: Keys::Only(enis),
            share: (0, 1),
        }
    }

    /// Whether a row is in it.
    pub(super) fn has(&self, row: &Told<'_>) -> bool {
        let (index, of) = self.share;
        if of == 1 {
            return true;
        }
        if row.flag("is_skipped") {
            return index == 0;
        }
        let mut hasher = crc32fast::Hasher::new();
        for column in ["source", "target", "packet_source", "packet_target"] {
            hasher.update(row.text(column).unwrap_or_default().as_bytes());
        }
        for column in ["source_port", "target_port", "protocol"] {
            hasher.update(&row.number(column).unwrap_or_default().to_le_bytes());
        }
        hasher.finalize() % of == index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(rows: &[(&str, usize)]) -> Vec<(Vec<String>, (u32, u32))> {
        let mut census = Census::default();
        for (eni, count) in rows {
            (0..*count).for_each(|_| census.add(eni, false));
        }
        let parts = census.parts(10).into_iter();
        parts
            .map(|part| match part.keys {
                Keys::Only(enis) => (enis.into_iter().collect(), part.share),
                Keys::All => panic!("all interfaces"),
            })
            .collect()
    }

    #[test]
    fn interfaces_share_a_part_and_a_large_one_has_several() {
        let of = |enis: &[&str], share| (enis.iter().map(|it| (*it).to_owned()).collect(), share);
        let found = parts(&[("a", 4), ("b", 6), ("c", 25), ("d", 1)]);
        let expected = vec![
            of(&["a", "b"], (0, 1)),
            of(&["c"], (0, 3)),
            of(&["c"], (1, 3)),
            of(&["c"], (2, 3)),
            of(&["d"], (0, 1)),
        ];
        assert_eq!(found, expected);
        assert!(parts(&[]).is_empty());
    }

    #[test]
    fn interfaces_with_packets_and_those_with_untold_ones_are_known() {
        let mut census = Census::default();
        census.add("a", false);
        census.add("b", true);
        assert!(census.busy.contains("a") && !census.busy.contains("b"));
        assert_eq!(census.skipped.len(), 1);
    }
}
