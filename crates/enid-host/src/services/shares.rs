//! What all VPCs have together, shared out so that none of them can take it all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use enid_model::id::VpcId;

/// So many of something.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    max: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_vpc: HashMap<VpcId, usize>,
}

/// One of them, which is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Shares,
    vpc: VpcId,
}

impl Shares {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            taken: Arc::default(),
        }
    }

    /// One for a VPC, as long as it has fewer than are free: a VPC alone gets half of all, and however much
    /// others take there is some left.
    pub(super) fn take(&self, vpc: VpcId) -> Option<Share> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.of_vpc.get(&vpc).copied().unwrap_or(0);
        if own >= self.max - taken.all {
            return None;
        }
        taken.all += 1;
        taken.of_vpc.insert(vpc, own + 1);
        drop(taken);
        let shares = self.clone();
        Some(Share { shares, vpc })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let taken = self.shares.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(own) = taken.of_vpc.get_mut(&self.vpc) {
            *own -= 1;
            if *own == 0 {
                taken.of_vpc.remove(&self.vpc);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vpc_leaves_some_for_others_and_gives_back() {
        let shares = Shares::new(1024);
        let take = |vpc| shares.take(VpcId(vpc));
        let of_one: Vec<_> = std::iter::from_fn(|| take(1)).collect();
        assert_eq!(of_one.len(), 512);
        let of_other: Vec<_> = std::iter::from_fn(|| take(2)).collect();
        assert_eq!(of_other.len(), 256);
        assert!(take(1).is_none() && take(3).is_some());
        drop((of_one, of_other));
        let left = shares.taken.lock().unwrap();
        assert!(left.all == 0 && left.of_vpc.is_empty());
    }
}
