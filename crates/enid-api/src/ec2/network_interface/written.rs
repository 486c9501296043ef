//! Descriptions of interfaces that were written for earlier answers.
//!
//! Clients that watch a network describe all of its interfaces again and again, and nearly always
//! nearly all of them are as they were. What is told of an interface follows from its record and
//! from what [`RegionState::surroundings`] stands for, so that a description with the revisions of
//! both is still right, whatever else is added to it one day.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use enid_model::id::EniId;
use enid_model::key::AccountId;
use enid_model::network_interface::NetworkInterface;
use enid_model::state::{RegionState, Revision, Stored};

use super::describe::{View, answer};
use crate::context::Context;
use crate::generated::ec2::response;
use crate::wire::prepared::Prepared;

/// Descriptions that are kept: of a kilobyte or so each.
const KEPT_MAX: usize = 8_192;

/// The descriptions that were written last.
#[derive(Default)]
pub(in crate::ec2) struct Written(Mutex<HashMap<EniId, Description>>);

struct Description {
    account: AccountId,
    region: &'static str,
    of: Revisions,
    xml: Arc<str>,
}

/// What a description was made from.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Revisions {
    eni: Revision,
    surroundings: Revision,
}

impl Revisions {
    fn seen_in(region: &RegionState, eni: &Stored<NetworkInterface>) -> Self {
        Self {
            eni: eni.revision,
            surroundings: region.surroundings,
        }
    }
}

impl Written {
    /// The descriptions of these interfaces, as they are in a region.
    pub(super) fn written_answers(
        &self,
        context: &Context,
        view: &View<'_>,
        enis: &[&Stored<NetworkInterface>],
    ) -> Vec<Prepared<response::NetworkInterface>> {
        let mut missing = Vec::new();
        let mut described: Vec<_> = {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let described = enis.iter().enumerate().map(|(at, eni)| {
                let found = kept.get(&eni.id).filter(|found| {
                    found.of == Revisions::seen_in(view.region, eni)
                        && (found.account, found.region) == (context.account, context.region.name)
                });
                if found.is_none() {
                    missing.push(at);
                }
                Prepared::Written(found.map_or_else(Arc::default, |found| Arc::clone(&found.xml)))
            });
            described.collect()
        };
        // An answer that would drive out everything else is not kept.
        if missing.is_empty() || missing.len() > KEPT_MAX / 2 {
            for at in missing {
                if let (Some(eni), Some(place)) = (enis.get(at), described.get_mut(at)) {
                    *place = Prepared::Made(answer(view, eni));
                }
            }
            return described;
        }
        let mut fresh = Vec::with_capacity(missing.len());
        for at in missing {
            if let (Some(eni), Some(place)) = (enis.get(at), described.get_mut(at)) {
                let xml = Prepared::xml_of(&answer(view, eni));
                *place = Prepared::Written(Arc::clone(&xml));
                fresh.push((
                    eni.id,
                    Description {
                        account: context.account,
                        region: context.region.name,
                        of: Revisions::seen_in(view.region, eni),
                        xml,
                    },
                ));
            }
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + fresh.len() > KEPT_MAX {
            kept.clear();
        }
        kept.extend(fresh);
        described
    }
}
