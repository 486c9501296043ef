//! How many connections a VPC's services have at once: a bound for each interface, and a share of what the
//! host has for all VPCs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use enid_model::id::{EniId, VpcId};

use super::shares::{Share, Shares};

/// Connections of one interface. Nobody needs as many; what comes above is closed at once.
const OF_ENI_MAX: usize = 64;
/// Connections of all VPCs. Each has two descriptors, of the thousands that the daemon may have.
pub(super) const OF_HOST_MAX: usize = 4096;

/// The places of a VPC.
#[derive(Debug, Clone)]
pub(super) struct Places {
    vpc: VpcId,
    shares: Shares,
    of_eni: Arc<Mutex<HashMap<EniId, usize>>>,
}

/// A place that is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    eni: EniId,
    _share: Share,
}

impl Places {
    /// The places of a VPC, of those that the host has.
    pub(super) fn of(vpc: VpcId, shares: &Shares) -> Self {
        Self {
            vpc,
            shares: shares.clone(),
            of_eni: Arc::default(),
        }
    }

    /// A place for a connection of an interface, if there is one.
    pub(super) fn take(&self, eni: EniId) -> Option<Place> {
        let mut of_eni = self.of_eni.lock().unwrap_or_else(PoisonError::into_inner);
        let own = of_eni.get(&eni).copied().unwrap_or(0);
        if own >= OF_ENI_MAX {
            return None;
        }
        let share = self.shares.take(self.vpc)?;
        of_eni.insert(eni, own + 1);
        drop(of_eni);
        Some(Place {
            places: self.clone(),
            eni,
            _share: share,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let of_eni = self.places.of_eni.lock();
        let mut of_eni = of_eni.unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = of_eni.get_mut(&self.eni) {
            *own -= 1;
            if *own == 0 {
                of_eni.remove(&self.eni);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_its_own_bound_and_gets_places_back() {
        let places = Places::of(VpcId(1), &Shares::new(OF_HOST_MAX));
        let mut taken: Vec<_> = (0..OF_ENI_MAX)
            .map(|_| places.take(EniId(1)).expect("a place"))
            .collect();
        assert!(places.take(EniId(1)).is_none());
        assert!(places.take(EniId(2)).is_some());
        taken.pop();
        assert!(places.take(EniId(1)).is_some());
        drop(taken);
        assert!(places.of_eni.lock().unwrap().is_empty());
    }

    #[test]
    fn a_vpc_has_no_more_than_its_share() {
        let shares = Shares::new(4);
        let (one, other) = (Places::of(VpcId(1), &shares), Places::of(VpcId(2), &shares));
        let taken = [1, 2].map(|eni| one.take(EniId(eni)).expect("a place"));
        assert!(one.take(EniId(3)).is_none() && other.take(EniId(4)).is_some());
        drop(taken);
        assert!(one.take(EniId(3)).is_some());
    }
}
