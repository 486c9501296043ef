//! Targets of traffic mirroring: interfaces that copies are sent to.

use enid_model::id::{EniId, TrafficMirrorTargetId};
use enid_model::key::Kind;
use enid_model::network_interface::{InterfaceType, NetworkInterface};
use enid_model::traffic_mirror::TrafficMirrorTarget;

use crate::tag::{TagSpecification, specified};
use crate::{Caller, Control, Error, MirroringError};

/// The input of CreateTrafficMirrorTarget.
#[derive(Debug, Clone)]
pub struct CreateTrafficMirrorTarget {
    /// The interface that gets the copies.
    pub eni: EniId,
    /// Free text.
    pub description: Option<String>,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: Vec<TagSpecification>,
}

impl Control {
    /// CreateTrafficMirrorTarget. The interface need not be attached; it is no session's source.
    pub async fn create_traffic_mirror_target(
        &self,
        caller: &Caller,
        input: &CreateTrafficMirrorTarget,
    ) -> Result<TrafficMirrorTarget, Error> {
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        let tags = specified(&input.tags, "traffic-mirror-target")?;
        self.transact(caller, |draft| {
            let token = token.as_deref();
            if let Some(known) = draft.resource_made_before(OPERATION, token, &parameters)? {
                return Ok(known);
            }
            let id = input.eni;
            if !draft.region.network_interfaces.contains_key(&id) {
                return Err(MirroringError::MirrorTargetInterfaceNotFound { id }.into());
            }
            let eni = draft.require::<NetworkInterface>(id)?;
            if eni.interface_type != InterfaceType::Interface {
                return Err(MirroringError::MirrorTargetNotSupported { eni: id }.into());
            }
            let session = draft.region.traffic_mirror_sessions_of_eni(id).next();
            if let Some(session) = session {
                return Err(MirroringError::MirrorTargetIsSource { eni: id, session }.into());
            }
            draft.demand_unnamed(Kind::TrafficMirrorSession, id);
            // Limit: calls at the very same time can pass the quota by their number.
            if draft.region.traffic_mirror_targets.len() >= draft.quotas.traffic_mirror_targets {
                return Err(MirroringError::TrafficMirrorTargetLimitExceeded.into());
            }
            let target = TrafficMirrorTarget {
                id: draft.mint(),
                network_interface: id,
                description: input.description.clone(),
                tags: tags.clone(),
            };
            let made = vec![target.id.to_string()];
            draft.remember(OPERATION, token, &parameters, made);
            draft.create(target.clone());
            Ok(target)
        })
        .await
    }

    /// DeleteTrafficMirrorTarget: only one that no session names.
    pub async fn delete_traffic_mirror_target(
        &self,
        caller: &Caller,
        id: TrafficMirrorTargetId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let target = draft.require::<TrafficMirrorTarget>(id)?;
            let session = draft.region.traffic_mirror_sessions_of_target(id).next();
            if let Some(session) = session {
                return Err(MirroringError::TrafficMirrorTargetInUse { id, session }.into());
            }
            draft.demand_unnamed(Kind::TrafficMirrorSession, id);
            draft.delete(&target);
            Ok(())
        })
        .await
    }
}

const OPERATION: &str = "CreateTrafficMirrorTarget";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quotas;
    use crate::fixture::{caller, control, mirror, new_eni, new_target, place, session};

    #[tokio::test]
    async fn a_target_is_an_interface_that_is_no_source() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let mirror = mirror(&control, &place, "t3.micro").await;
        let create = async |eni| {
            let input = new_target(eni);
            let made = control.create_traffic_mirror_target(&caller, &input).await;
            made.map(|target| target.network_interface)
        };
        // A source may become a target until it has a session, and an interface may be several.
        assert_eq!(create(mirror.target_eni).await, Ok(mirror.target_eni));
        let session = session(&control, &mirror, 1).await;
        let refused = create(mirror.source)
            .await
            .map_err(|error| error.to_string());
        let words = format!(
            "{} is already in use by {session}. A network interface cannot be a traffic mirror source and a traffic mirror target.",
            mirror.source
        );
        assert_eq!(refused, Err(words));
        let unknown = EniId(7);
        let error = MirroringError::MirrorTargetInterfaceNotFound { id: unknown };
        assert_eq!(create(unknown).await, Err(error.into()));
        let ended = control.delete_traffic_mirror_session(&caller, session);
        assert_eq!(ended.await, Ok(()));
        assert_eq!(create(mirror.source).await, Ok(mirror.source));
    }

    #[tokio::test]
    async fn a_target_goes_after_its_sessions() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let mirror = mirror(&control, &place, "t3.micro").await;
        let session = session(&control, &mirror, 1).await;
        let id = mirror.target;
        let delete = || control.delete_traffic_mirror_target(&caller, id);
        let error = MirroringError::TrafficMirrorTargetInUse { id, session };
        let words = format!("Cannot delete {id}. Target is in use by {session}");
        assert_eq!(error.to_string(), words);
        assert_eq!(delete().await, Err(error.into()));
        let ended = control.delete_traffic_mirror_session(&caller, session);
        assert_eq!(ended.await, Ok(()));
        assert_eq!(delete().await, Ok(()));
        assert_eq!(delete().await, Err(Error::not_found(id)));
    }

    #[tokio::test]
    async fn a_token_makes_one_target_and_the_quota_ends_them() {
        let quotas = Quotas {
            traffic_mirror_targets: 1,
            ..Quotas::default()
        };
        let (control, caller) = (control().with_quotas(quotas), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let made = control.create_network_interface(&caller, new_eni(&place));
        let eni = made.await.expect("an interface").id;
        let mut input = new_target(eni);
        input.client_token = Some("once".to_owned());
        let first = control.create_traffic_mirror_target(&caller, &input).await;
        let again = control.create_traffic_mirror_target(&caller, &input).await;
        assert!(first.is_ok() && first == again);
        input.description = Some("another".to_owned());
        let other = control.create_traffic_mirror_target(&caller, &input).await;
        assert_eq!(other, Err(Error::IdempotentParameterMismatch));
        let input = new_target(eni);
        let second = control.create_traffic_mirror_target(&caller, &input).await;
        let error = MirroringError::TrafficMirrorTargetLimitExceeded;
        assert_eq!(second, Err(error.into()));
    }
}
