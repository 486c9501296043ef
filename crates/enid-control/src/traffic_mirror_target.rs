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
