//! Filters of traffic mirroring: which packets are copied. Their rules have a file of their own.

use std::collections::BTreeMap;

use enid_model::id::TrafficMirrorFilterId;
use enid_model::key::Kind;
use enid_model::traffic_mirror::TrafficMirrorFilter;

use crate::tag::{TagSpecification, specified};
use crate::{Caller, Control, Error, MirroringError};

/// The input of CreateTrafficMirrorFilter.
#[derive(Debug, Clone, Default)]
pub struct CreateTrafficMirrorFilter {
    /// Free text.
    pub description: Option<String>,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: Vec<TagSpecification>,
}

impl Control {
    /// CreateTrafficMirrorFilter. Without rules it accepts nothing.
    pub async fn create_traffic_mirror_filter(
        &self,
        caller: &Caller,
        input: &CreateTrafficMirrorFilter,
    ) -> Result<TrafficMirrorFilter, Error> {
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        let tags = specified(&input.tags, "traffic-mirror-filter")?;
        self.transact(caller, |draft| {
            let token = token.as_deref();
            if let Some(known) = draft.resource_made_before(OPERATION, token, &parameters)? {
                return Ok(known);
            }
            // Limit: calls at the very same time can pass the quota by their number.
            if draft.region.traffic_mirror_filters.len() >= draft.quotas.traffic_mirror_filters {
                return Err(MirroringError::TrafficMirrorFilterLimitExceeded.into());
            }
            let filter = TrafficMirrorFilter {
                id: draft.mint(),
                rules: BTreeMap::new(),
                amazon_dns: false,
                description: input.description.clone(),
                tags: tags.clone(),
            };
            let made = vec![filter.id.to_string()];
            draft.remember(OPERATION, token, &parameters, made);
            draft.create(filter.clone());
            Ok(filter)
        })
        .await
    }

    /// ModifyTrafficMirrorFilterNetworkServices: whether questions to the VPC's resolver are copied.
    /// What is both added and removed is removed.
    pub async fn modify_traffic_mirror_filter_network_services(
        &self,
        caller: &Caller,
        id: TrafficMirrorFilterId,
        add: bool,
        remove: bool,
    ) -> Result<TrafficMirrorFilter, Error> {
        self.transact(caller, |draft| {
            let filter = draft.require::<TrafficMirrorFilter>(id)?;
            let mut new = TrafficMirrorFilter::clone(&filter);
            new.amazon_dns = (new.amazon_dns || add) && !remove;
            if new != **filter.record() {
                draft.update(&filter, new.clone());
            }
            Ok(new)
        })
        .await
    }

    /// DeleteTrafficMirrorFilter: only one that no session names. Its rules go with it.
    pub async fn delete_traffic_mirror_filter(
        &self,
        caller: &Caller,
        id: TrafficMirrorFilterId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let filter = draft.require::<TrafficMirrorFilter>(id)?;
            let session = draft.region.traffic_mirror_sessions_of_filter(id).next();
            if let Some(session) = session {
                return Err(MirroringError::TrafficMirrorFilterInUse { id, session }.into());
            }
            draft.demand_unnamed(Kind::TrafficMirrorSession, id);
            draft.delete(&filter);
            Ok(())
        })
        .await
    }
}

const OPERATION: &str = "CreateTrafficMirrorFilter";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quotas;
    use crate::fixture::{caller, control, mirror, place, session};

    #[tokio::test]
    async fn network_services_come_and_go() {
        let (control, caller) = (control(), caller());
        let filter = CreateTrafficMirrorFilter::default();
        let made = control.create_traffic_mirror_filter(&caller, &filter).await;
        let filter = made.expect("a filter");
        assert!(!filter.amazon_dns && filter.rules.is_empty());
        let modify = async |add, remove| {
            let control = &control;
            let changed = control
                .modify_traffic_mirror_filter_network_services(&caller, filter.id, add, remove);
            changed.await.map(|filter| filter.amazon_dns)
        };
        assert_eq!(modify(true, false).await, Ok(true));
        assert_eq!(modify(false, false).await, Ok(true));
        assert_eq!(modify(false, true).await, Ok(false));
        assert_eq!(modify(true, true).await, Ok(false));
        let id = TrafficMirrorFilterId(7);
        let unknown =
            control.modify_traffic_mirror_filter_network_services(&caller, id, true, false);
        assert_eq!(unknown.await, Err(Error::not_found(id)));
    }

    #[tokio::test]
    async fn a_filter_goes_after_its_sessions() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let mirror = mirror(&control, &place, "t3.micro").await;
        let session = session(&control, &mirror, 1).await;
        let id = mirror.filter;
        let delete = || control.delete_traffic_mirror_filter(&caller, id);
        let error = MirroringError::TrafficMirrorFilterInUse { id, session };
        assert_eq!(delete().await, Err(error.into()));
        let ended = control.delete_traffic_mirror_session(&caller, session);
        assert_eq!(ended.await, Ok(()));
        assert_eq!(delete().await, Ok(()));
        assert_eq!(delete().await, Err(Error::not_found(id)));
    }

    #[tokio::test]
    async fn the_quota_ends_filters() {
        let quotas = Quotas {
            traffic_mirror_filters: 1,
            ..Quotas::default()
        };
        let (control, caller) = (control().with_quotas(quotas), caller());
        let filter = CreateTrafficMirrorFilter::default();
        let create = || control.create_traffic_mirror_filter(&caller, &filter);
        assert!(create().await.is_ok());
        let error = MirroringError::TrafficMirrorFilterLimitExceeded;
        assert_eq!(create().await, Err(error.into()));
    }
}
