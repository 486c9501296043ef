//! Resources that several indexes agree on, found in the order of their ids.
//!
//! Each filter that an index answers gives a [`Union`]: the ids under any of its values. Their
//! [`Intersection`] leaps: whichever is furthest ahead says where the others go on, so the time
//! depends on the filter that leaves the fewest, whichever that is, and a page ends the search.

use enid_model::id::ResourceId;

type Ids<'a, I> = Box<dyn Iterator<Item = I> + 'a>;

/// How many ids are stepped over before an index is asked anew.
const STEPS_MAX: usize = 8;

/// Ascending ids that can be entered at any of them.
pub(super) struct Source<'a, I> {
    seek: Box<dyn Fn(I) -> Ids<'a, I> + 'a>,
    /// What comes behind `head`; absent before the first use.
    rest: Option<Ids<'a, I>>,
    head: Option<I>,
}

impl<'a, I: ResourceId + 'a> Source<'a, I> {
    /// An index, by what it holds from an id on.
    pub(super) fn index<S: Iterator<Item = I> + 'a>(seek: impl Fn(I) -> S + 'a) -> Self {
        Self {
            seek: Box::new(move |first| Box::new(seek(first))),
            rest: None,
            head: None,
        }
    }

    /// A few ids in whatever order.
    pub(super) fn list(ids: impl Iterator<Item = I>) -> Self {
        let mut ids: Vec<I> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        let ids = std::rc::Rc::new(ids);
        Self::index(move |first| {
            let (ids, start) = (ids.clone(), ids.partition_point(|id| *id < first));
            (start..ids.len()).filter_map(move |at| ids.get(at).copied())
        })
    }

    /// The first id that is not below this one.
    fn advance(&mut self, first: I) -> Option<I> {
        if let Some(rest) = &mut self.rest {
            for _ in 0..STEPS_MAX {
                match self.head {
                    Some(head) if head < first => self.head = rest.next(),
                    head => return head,
                }
            }
        }
        let mut rest = (self.seek)(first);
        self.head = rest.next();
        self.rest = Some(rest);
        self.head
    }
}

/// The ids of any of several sources.
pub(super) type Union<'a, I> = Vec<Source<'a, I>>;

/// The ids that all of several unions have, ascending.
pub(super) struct Intersection<'a, I> {
    unions: Vec<Union<'a, I>>,
    /// Where to go on; absent at the end.
    next: Option<I>,
}

impl<'a, I: ResourceId + 'a> Intersection<'a, I> {
    /// Those behind an id, or all. There must be a union: of none, everything would be common.
    pub(super) fn new(unions: Vec<Union<'a, I>>, after: Option<I>) -> Self {
        let next = match after {
            None => Some(I::from_bits(0)),
            Some(after) => successor(after),
        };
        Self { unions, next }
    }
}

impl<'a, I: ResourceId + 'a> Iterator for Intersection<'a, I> {
    type Item = I;

    fn next(&mut self) -> Option<I> {
        let mut wanted = self.next?;
        let mut agreed = 0;
        let count = self.unions.len();
        for at in (0..count).cycle() {
            let union = self.unions.get_mut(at)?;
            let found = union.iter_mut().filter_map(|source| source.advance(wanted));
            let Some(found) = found.min() else {
                self.next = None;
                return None;
            };
            agreed = if found == wanted { agreed + 1 } else { 1 };
            wanted = found;
            if agreed == count {
                self.next = successor(wanted);
                return Some(wanted);
            }
        }
        None
    }
}

fn successor<I: ResourceId>(id: I) -> Option<I> {
    id.bits().checked_add(1).map(I::from_bits)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use enid_model::id::EniId;
    use proptest::prelude::*;

    use super::*;

    fn common(unions: &[Vec<BTreeSet<u64>>], after: Option<u64>) -> Vec<u64> {
        let source = |ids: &BTreeSet<u64>| Source::list(ids.iter().map(|id| EniId(*id)));
        let unions = unions.iter().map(|u| u.iter().map(source).collect());
        let found = Intersection::new(unions.collect(), after.map(EniId));
        found.map(|id| id.0).collect()
    }

    #[test]
    fn the_last_id_ends_the_search() {
        let all = vec![BTreeSet::from([0, u64::MAX])];
        assert_eq!(common(std::slice::from_ref(&all), None), [0, u64::MAX]);
        assert_eq!(common(std::slice::from_ref(&all), Some(0)), [u64::MAX]);
        assert!(common(&[all], Some(u64::MAX)).is_empty());
        assert!(common(&[vec![]], None).is_empty());
    }

    #[test]
    fn an_index_is_entered_where_the_smaller_set_is() {
        let asked = std::cell::Cell::new(0);
        let large = Source::index(|first: EniId| {
            let asked = &asked;
            (first.0..1 << 20).map(move |id| {
                asked.set(asked.get() + 1);
                EniId(id)
            })
        });
        let small = Source::list([5, 1 << 19].map(EniId).into_iter());
        let found: Vec<_> = Intersection::new(vec![vec![large], vec![small]], None).collect();
        assert_eq!(found, [5, 1 << 19].map(EniId));
        assert!(asked.get() < 100, "{}", asked.get());
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_all_have(
            unions in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::btree_set(0..60_u64, 0..40), 0..3),
                1..4,
            ),
            after in proptest::option::of(0..60_u64),
        ) {
            let wanted: Vec<u64> = (0..60)
                .filter(|id| after.is_none_or(|after| *id > after))
                .filter(|id| unions.iter().all(|union| union.iter().any(|set| set.contains(id))))
                .collect();
            prop_assert_eq!(common(&unions, after), wanted);
        }
    }
}
