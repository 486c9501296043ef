//! How many connections a VPC's services have at once: a bound for each interface, and one for all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use enid_model::id::EniId;

/// Connections of one interface. Nobody needs as many; what comes above is closed at once.
const OF_ENI_MAX: usize = 64;
/// Connections of one VPC.
const OF_ALL_MAX: usize = 4096;

/// The places that are taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_eni: HashMap<EniId, usize>,
}

/// A place that is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    eni: EniId,
}

impl Places {
    /// A place for a connection of an interface, if there is one.
    pub(super) fn take(&self, eni: EniId) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_eni = taken.of_eni.get(&eni).copied().unwrap_or(0);
        if of_eni >= OF_ENI_MAX || taken.all >= OF_ALL_MAX {
            return None;
        }
        taken.of_eni.insert(eni, of_eni + 1);
        taken.all += 1;
        drop(taken);
        let places = self.clone();
        Some(Place { places, eni })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let taken = &self.places.0;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(of_eni) = taken.of_eni.get_mut(&self.eni) {
            *of_eni -= 1;
            if *of_eni == 0 {
                taken.of_eni.remove(&self.eni);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_its_own_bound_and_gets_places_back() {
        let places = Places::default();
        let mut taken: Vec<_> = (0..OF_ENI_MAX)
            .map(|_| places.take(EniId(1)).expect("a place"))
            .collect();
        assert!(places.take(EniId(1)).is_none());
        assert!(places.take(EniId(2)).is_some());
        taken.pop();
        assert!(places.take(EniId(1)).is_some());
        drop(taken);
        assert!(places.0.lock().unwrap().of_eni.is_empty());
        assert_eq!(places.0.lock().unwrap().all, 0);
    }
}
