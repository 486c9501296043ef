//! Sessions of traffic mirroring: which interface's packets are copied, and to where.
//!
//! A session is made for an interface of an instance whose type mirrors. It stays when the
//! interface is detached or its target's interface goes (nothing is copied then), and goes with its
//! source.

use std::collections::BTreeSet;

use enid_model::id::{EniId, TrafficMirrorFilterId, TrafficMirrorSessionId, TrafficMirrorTargetId};
use enid_model::instance_type::InstanceType;
use enid_model::key::Kind;
use enid_model::network_interface::{InterfaceType, NetworkInterface};
use enid_model::traffic_mirror::{
    SESSIONS_PER_SOURCE_MAX, TrafficMirrorFilter, TrafficMirrorSession, TrafficMirrorTarget,
};

use crate::tag::{TagSpecification, specified};
use crate::{Caller, Control, Draft, Error, MirroringError};

/// The input of CreateTrafficMirrorSession.
#[derive(Debug, Clone)]
pub struct CreateTrafficMirrorSession {
    /// The source.
    pub eni: EniId,
    /// Where the copies go.
    pub target: TrafficMirrorTargetId,
    /// Which packets are copied.
    pub filter: TrafficMirrorFilterId,
    /// 1 to 32766.
    pub number: i32,
    /// The network identifier of the copies; else a random one.
    pub virtual_network_id: Option<i32>,
    /// How much of a packet is copied; else all.
    pub packet_length: Option<i32>,
    /// Free text.
    pub description: Option<String>,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: Vec<TagSpecification>,
}

/// The input of ModifyTrafficMirrorSession: what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct ModifyTrafficMirrorSession {
    /// Where the copies go.
    pub target: Option<TrafficMirrorTargetId>,
    /// Which packets are copied.
    pub filter: Option<TrafficMirrorFilterId>,
    /// 1 to 32766.
    pub number: Option<i32>,
    /// The network identifier of the copies.
    pub virtual_network_id: Option<i32>,
    /// How much of a packet is copied.
    pub packet_length: Option<i32>,
    /// Free text.
    pub description: Option<String>,
    /// What shall be as if it had never been set.
    pub remove: Vec<MirrorSessionField>,
}

/// A property of a session that can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorSessionField {
    /// The text.
    Description,
    /// How much of a packet is copied: all, from then on.
    PacketLength,
    /// The network identifier: a new random one, from then on.
    VirtualNetworkId,
}

impl Control {
    /// CreateTrafficMirrorSession.
    pub async fn create_traffic_mirror_session(
        &self,
        caller: &Caller,
        input: &CreateTrafficMirrorSession,
    ) -> Result<TrafficMirrorSession, Error> {
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        let tags = specified(&input.tags, "traffic-mirror-session")?;
        let number = session_number(input.number)?;
        let wanted_network = input.virtual_network_id.map(virtual_network).transpose()?;
        let packet_length = input.packet_length.map(packet_length).transpose()?;
        self.transact(caller, |draft| {
            let token = token.as_deref();
            if let Some(known) = draft.resource_made_before(OPERATION, token, &parameters)? {
                return Ok(known);
            }
            check_source(draft, input.eni)?;
            draft.require::<TrafficMirrorFilter>(input.filter)?;
            // Limit: calls at the very same time can pass the quota by their number.
            if draft.region.traffic_mirror_sessions.len() >= draft.quotas.traffic_mirror_sessions {
                return Err(MirroringError::TrafficMirrorSessionLimitExceeded.into());
            }
            let of_source = draft.region.traffic_mirror_sessions_of_eni(input.eni);
            if of_source.count() >= SESSIONS_PER_SOURCE_MAX {
                let eni = input.eni;
                return Err(MirroringError::MirrorSessionsPerInterfaceExceeded { eni }.into());
            }
            let session = TrafficMirrorSession {
                id: draft.mint(),
                network_interface: input.eni,
                target: input.target,
                filter: input.filter,
                number,
                virtual_network_id: wanted_network.unwrap_or_else(|| free_network(draft)),
                packet_length,
                description: input.description.clone(),
                tags: tags.clone(),
            };
            check_number(draft, &session)?;
            check_target(draft, &session)?;
            let made = vec![session.id.to_string()];
            draft.remember(OPERATION, token, &parameters, made);
            draft.create(session.clone());
            Ok(session)
        })
        .await
    }

    /// ModifyTrafficMirrorSession.
    pub async fn modify_traffic_mirror_session(
        &self,
        caller: &Caller,
        id: TrafficMirrorSessionId,
        input: &ModifyTrafficMirrorSession,
    ) -> Result<TrafficMirrorSession, Error> {
        check_removals(input)?;
        let number = input.number.map(session_number).transpose()?;
        let network = input.virtual_network_id.map(virtual_network).transpose()?;
        let length = input.packet_length.map(packet_length).transpose()?;
        self.transact(caller, |draft| {
            let session = draft.require::<TrafficMirrorSession>(id)?;
            let mut new = TrafficMirrorSession::clone(&session);
            for field in &input.remove {
                match field {
                    MirrorSessionField::Description => new.description = None,
                    MirrorSessionField::PacketLength => new.packet_length = None,
                    MirrorSessionField::VirtualNetworkId => {
                        new.virtual_network_id = free_network(draft);
                    }
                }
            }
            new.number = number.unwrap_or(new.number);
            new.virtual_network_id = network.unwrap_or(new.virtual_network_id);
            new.packet_length = length.or(new.packet_length);
            if input.description.is_some() {
                new.description.clone_from(&input.description);
            }
            if let Some(filter) = input.filter {
                draft.require::<TrafficMirrorFilter>(filter)?;
                new.filter = filter;
            }
            if let Some(target) = input.target {
                new.target = target;
                check_target(draft, &new)?;
            }
            if new.number != session.number {
                check_number(draft, &new)?;
            }
            if new != **session.record() {
                draft.update(&session, new.clone());
            }
            Ok(new)
        })
        .await
    }

    /// DeleteTrafficMirrorSession.
    pub async fn delete_traffic_mirror_session(
        &self,
        caller: &Caller,
        id: TrafficMirrorSessionId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let session = draft.require::<TrafficMirrorSession>(id)?;
            draft.delete(&session);
            Ok(())
        })
        .await
    }
}

/// Ends the sessions of an interface that is about to be deleted.
pub(crate) fn end_sessions(draft: &mut Draft<'_>, eni: EniId) {
    let region = std::sync::Arc::clone(&draft.region);
    let sessions = region.traffic_mirror_sessions_of_eni(eni);
    for session in sessions.filter_map(|id| region.traffic_mirror_sessions.get(&id)) {
        draft.delete(session);
    }
    draft.demand_unnamed(Kind::TrafficMirrorSession, eni);
}

/// An interface may be a source: of an instance whose type mirrors, and no target's.
fn check_source(draft: &mut Draft<'_>, id: EniId) -> Result<(), Error> {
    let eni = draft.require::<NetworkInterface>(id)?;
    let instance = draft.state.instance_of(draft.scope(), &eni);
    let mirrors = instance.is_some_and(|instance| is_mirroring_type(&instance.instance_type));
    if eni.interface_type != InterfaceType::Interface || !mirrors {
        return Err(MirroringError::MirrorSourceNotSupported { eni: id }.into());
    }
    if let Some(target) = draft.region.traffic_mirror_targets_of_eni(id).next() {
        return Err(MirroringError::MirrorSourceIsTarget { eni: id, target }.into());
    }
    draft.demand_unnamed(Kind::TrafficMirrorTarget, id);
    Ok(())
}

/// No other session of the source has the number.
fn check_number(draft: &mut Draft<'_>, session: &TrafficMirrorSession) -> Result<(), Error> {
    let (eni, number) = (session.network_interface, session.number);
    let taken = {
        let region = &draft.region;
        let others = region.traffic_mirror_sessions_of_eni(eni);
        let mut others = others.filter_map(|id| region.traffic_mirror_sessions.get(&id));
        let taken = others.find(|other| other.id != session.id && other.number == number);
        taken.map(|other| other.id)
    };
    if let Some(session) = taken {
        return Err(MirroringError::MirrorSessionNumberTaken {
            number,
            eni,
            session,
        }
        .into());
    }
    draft.demand_unnamed(Kind::TrafficMirrorSession, eni);
    Ok(())
}

/// A session's target is there, and takes one more source if this is a new one for it.
fn check_target(draft: &mut Draft<'_>, session: &TrafficMirrorSession) -> Result<(), Error> {
    let target = draft.require::<TrafficMirrorTarget>(session.target)?;
    let region = &draft.region;
    let others = region.traffic_mirror_sessions_of_target(target.id);
    let others = others.filter(|id| *id != session.id);
    let others = others.filter_map(|id| region.traffic_mirror_sessions.get(&id));
    let mut sources: BTreeSet<EniId> = others.map(|other| other.network_interface).collect();
    let is_new = sources.insert(session.network_interface);
    // Limit: calls at the very same time can pass the quota by their number.
    if is_new && sources.len() > sources_max(draft, &target) {
        let target = target.id;
        return Err(MirroringError::MirrorSourcesPerTargetExceeded { target }.into());
    }
    Ok(())
}

/// How many sources a target may have: as AWS has it, the largest size of an instance family takes
/// more than the others.
fn sources_max(draft: &Draft<'_>, target: &TrafficMirrorTarget) -> usize {
    let eni = draft
        .region
        .network_interfaces
        .get(&target.network_interface);
    let instance = eni.and_then(|eni| draft.state.instance_of(draft.scope(), eni));
    match instance {
        Some(instance) if is_largest_size(&instance.instance_type) => SOURCES_OF_LARGEST_MAX,
        _ => SOURCES_MAX,
    }
}

/// Whether an instance type is the largest of its family, bare metal left out.
fn is_largest_size(name: &str) -> bool {
    let (Some(own), Some((family, _))) = (InstanceType::named(name), name.split_once('.')) else {
        return false;
    };
    let relatives = InstanceType::all().filter(|(name, found)| {
        found.bare_metal != Some(true)
            && name
                .split_once('.')
                .is_some_and(|(other, _)| other == family)
    });
    own.bare_metal != Some(true) && relatives.map(|(_, found)| found.vcpus).max() == Some(own.vcpus)
}

/// Whether interfaces of an instance type can be sources.
fn is_mirroring_type(name: &str) -> bool {
    let (Some(found), Some((family, _))) = (InstanceType::named(name), name.split_once('.')) else {
        return false;
    };
    match found.hypervisor.as_deref() {
        Some("nitro") => !NITRO_WITHOUT.contains(&family),
        Some("xen") => XEN_WITH.contains(&family),
        // Bare metal.
        _ => false,
    }
}

/// Nitro families without mirroring, by AWS's page of traffic mirroring's limitations.
const NITRO_WITHOUT: &[&str] = &[
    "c6a", "c6gd", "c6gn", "c6i", "c6id", "c6in", "c7a", "c7g", "c7gd", "c7gn", "c7i", "c8g",
    "hpc6a", "hpc6id", "hpc7a", "hpc7g", "i4g", "i4i", "im4gn", "inf2", "is4gen", "m6a", "m6i",
    "m6id", "m6idn", "m6in", "m7a", "m7g", "m7gd", "m7i", "m7i-flex", "m8g", "p5", "r6a", "r6i",
    "r6id", "r6idn", "r6in", "r7a", "r7g", "r7gd", "r7i", "r7iz", "r8g", "trn1", "trn1n", "x2idn",
    "x2iedn", "x2iezn", "x8g",
];

/// The other families with it.
const XEN_WITH: &[&str] = &[
    "c4", "d2", "g3", "g3s", "h1", "i3", "m4", "p2", "p3", "r4", "x1", "x1e",
];

/// No property is both set and removed.
fn check_removals(input: &ModifyTrafficMirrorSession) -> Result<(), Error> {
    use MirrorSessionField::{Description, PacketLength, VirtualNetworkId};
    let pairs = [
        (input.description.is_some(), Description, "description"),
        (input.packet_length.is_some(), PacketLength, "packet-length"),
        (
            input.virtual_network_id.is_some(),
            VirtualNetworkId,
            "virtual-network-id",
        ),
    ];
    for (is_set, field, name) in pairs {
        if is_set && input.remove.contains(&field) {
            return Err(MirroringError::FieldSetAndRemoved { field: name }.into());
        }
    }
    Ok(())
}

fn session_number(number: i32) -> Result<u16, Error> {
    let read = u16::try_from(number).ok();
    let read = read.filter(|read| (1..=NUMBER_MAX).contains(read));
    read.ok_or_else(|| invalid(number, "sessionNumber", NUMBER_RANGE))
}

fn virtual_network(number: i32) -> Result<u32, Error> {
    let read = u32::try_from(number).ok();
    let read = read.filter(|read| *read < NETWORKS);
    read.ok_or_else(|| invalid(number, "virtualNetworkId", NETWORK_RANGE))
}

fn packet_length(length: i32) -> Result<u16, Error> {
    let read = u16::try_from(length).ok();
    let read = read.filter(|read| *read > 0);
    read.ok_or_else(|| invalid(length, "packetLength", LENGTH_RANGE))
}

fn invalid(value: i32, name: &'static str, why: &str) -> Error {
    Error::InvalidValue {
        value: value.to_string().into(),
        name,
        why: why.into(),
    }
}

const NUMBER_RANGE: &str = "Expecting a value from 1 to 32766.";
const NETWORK_RANGE: &str = "Expecting a value from 0 to 16777215.";
const LENGTH_RANGE: &str = "Expecting a value from 1 to 65535.";

/// A network identifier that no session of the account's region has: 24 random bits, and there are
/// a thousand times as many as sessions.
fn free_network(draft: &mut Draft<'_>) -> u32 {
    let taken: BTreeSet<u32> = {
        let sessions = draft.region.traffic_mirror_sessions.values();
        sessions.map(|session| session.virtual_network_id).collect()
    };
    loop {
        let bits = draft.random() % u64::from(NETWORKS);
        let drawn = u32::try_from(bits).unwrap_or_default();
        if drawn != 0 && !taken.contains(&drawn) {
            return drawn;
        }
    }
}

const OPERATION: &str = "CreateTrafficMirrorSession";
const NUMBER_MAX: u16 = 32_766;
const NETWORKS: u32 = 1 << 24;
/// AWS's quotas, which cannot be raised.
const SOURCES_MAX: usize = 10;
const SOURCES_OF_LARGEST_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quotas;
    use crate::fixture::{
        caller, control, mirror, new_eni, new_session, new_target, place, session,
    };

    fn words(error: &Error) -> String {
        format!("{}: {error}", error.code())
    }

    #[test]
    fn types_mirror_as_aws_lists_them() {
        for (name, mirrors) in [
            ("t3.micro", true),
            ("m5.24xlarge", true),
            ("m4.large", true),
            // Not every Nitro type, no bare metal, and not every Xen type.
            ("m7i.large", false),
            ("c6gn.medium", false),
            ("m5.metal", false),
            ("t2.micro", false),
            ("nothing", false),
        ] {
            assert_eq!(is_mirroring_type(name), mirrors, "{name}");
        }
        for family in NITRO_WITHOUT.iter().chain(XEN_WITH) {
            let prefix = format!("{family}.");
            let is_known = InstanceType::all().any(|(name, _)| name.starts_with(&prefix));
            // AWS's list names families that it has retired since.
            let is_retired = ["g3", "g3s", "p2"].contains(family);
            assert!(is_known || is_retired, "{family}");
        }
        for (name, is_largest) in [
            ("m5.24xlarge", true),
            ("m5.12xlarge", false),
            ("m5.metal", false),
            ("nothing", false),
        ] {
            assert_eq!(is_largest_size(name), is_largest, "{name}");
        }
    }

    #[tokio::test]
    async fn a_source_is_an_interface_of_an_instance_that_mirrors() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let mirror_of = mirror(&control, &place, "t3.micro").await;
        let create = async |input: CreateTrafficMirrorSession| {
            control.create_traffic_mirror_session(&caller, &input).await
        };
        let mut input = new_session(&mirror_of, 1);
        let session = create(input.clone()).await.expect("a session");
        assert!((1..NETWORKS).contains(&session.virtual_network_id));
        assert_eq!(session.packet_length, None);

        let free = control.create_network_interface(&caller, new_eni(&place));
        input.eni = free.await.expect("an interface").id;
        let refused = create(input.clone()).await.map_err(|error| words(&error));
        let expected = format!(
            "NetworkInterfaceNotSupported: {} must be attached to a supported instance.",
            input.eni
        );
        assert_eq!(refused, Err(expected));
        input.eni = EniId(7);
        assert_eq!(create(input.clone()).await, Err(Error::not_found(EniId(7))));
        let other = mirror(&control, &place, "m7i.large").await;
        let refused = create(new_session(&other, 1)).await;
        let eni = other.source;
        let error = MirroringError::MirrorSourceNotSupported { eni };
        assert_eq!(refused, Err(error.into()));

        // The other way round: an instance's interface that is a target.
        let third = mirror(&control, &place, "t3.micro").await;
        let input = new_target(third.source);
        let made = control.create_traffic_mirror_target(&caller, &input);
        let target = made.await.expect("a target").id;
        let refused = create(new_session(&third, 1)).await;
        let eni = third.source;
        let error = MirroringError::MirrorSourceIsTarget { eni, target };
        assert_eq!(refused, Err(error.into()));
    }

    #[tokio::test]
    async fn sessions_of_a_source_have_numbers_of_their_own_and_are_three() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let mirror = mirror(&control, &place, "t3.micro").await;
        let create = async |number| {
            let input = new_session(&mirror, number);
            let made = control.create_traffic_mirror_session(&caller, &input).await;
            made.map(|session| session.id)
        };
        let eni = mirror.source;
        let first = create(1).await.expect("a session");
        let taken = MirroringError::MirrorSessionNumberTaken {
            number: 1,
            eni,
            session: first,
        };
        assert_eq!(create(1).await, Err(taken.clone().into()));
        let second = create(2).await.expect("a session");
        let renumbered = |number| ModifyTrafficMirrorSession {
            number: Some(number),
            ..ModifyTrafficMirrorSession::default()
        };
        let modify = async |number| {
            let input = renumbered(number);
            let changed = control.modify_traffic_mirror_session(&caller, second, &input);
            changed.await.map(|session| session.number)
        };
        assert_eq!(modify(1).await, Err(taken.into()));
        assert_eq!(modify(2).await, Ok(2));
        assert_eq!(modify(32_766).await, Ok(32_766));
        assert!(create(2).await.is_ok());
        let full = MirroringError::MirrorSessionsPerInterfaceExceeded { eni };
        assert_eq!(create(4).await, Err(full.into()));
        for number in [0, -1, 32_767] {
            let refused = create(number).await.map_err(|error| words(&error));
            let expected = format!(
                "InvalidParameterValue: Value ({number}) for parameter sessionNumber is invalid. Expecting a value from 1 to 32766."
            );
            assert_eq!(refused, Err(expected));
        }
    }

    #[tokio::test]
    async fn a_session_is_modified_part_by_part() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let one = mirror(&control, &place, "t3.micro").await;
        let other = mirror(&control, &place, "t3.micro").await;
        let mut input = new_session(&one, 1);
        input.virtual_network_id = Some(0);
        input.packet_length = Some(100);
        let made = control.create_traffic_mirror_session(&caller, &input).await;
        let session = made.expect("a session");
        assert_eq!(
            (session.virtual_network_id, session.packet_length),
            (0, Some(100))
        );
        let modify = async |input: ModifyTrafficMirrorSession| {
            let changed = control.modify_traffic_mirror_session(&caller, session.id, &input);
            changed.await
        };
        let moved = ModifyTrafficMirrorSession {
            target: Some(other.target),
            filter: Some(other.filter),
            description: Some("moved".to_owned()),
            remove: vec![
                MirrorSessionField::PacketLength,
                MirrorSessionField::VirtualNetworkId,
            ],
            ..ModifyTrafficMirrorSession::default()
        };
        let new = modify(moved).await.expect("a moved session");
        assert_ne!(new.virtual_network_id, 0);
        let expected = TrafficMirrorSession {
            target: other.target,
            filter: other.filter,
            description: Some("moved".to_owned()),
            packet_length: None,
            virtual_network_id: new.virtual_network_id,
            ..session.clone()
        };
        assert_eq!(new, expected);
        let both = ModifyTrafficMirrorSession {
            packet_length: Some(7),
            remove: vec![MirrorSessionField::PacketLength],
            ..ModifyTrafficMirrorSession::default()
        };
        let field = "packet-length";
        let error = MirroringError::FieldSetAndRemoved { field };
        assert_eq!(modify(both).await, Err(error.into()));
        for (network, length) in [(Some(1 << 24), None), (Some(-1), None), (None, Some(0))] {
            let out_of_range = ModifyTrafficMirrorSession {
                virtual_network_id: network,
                packet_length: length,
                ..ModifyTrafficMirrorSession::default()
            };
            let refused = modify(out_of_range).await;
            assert!(refused.is_err_and(|error| error.code() == "InvalidParameterValue"));
        }
        let nowhere = ModifyTrafficMirrorSession {
            target: Some(TrafficMirrorTargetId(7)),
            ..ModifyTrafficMirrorSession::default()
        };
        let error = Error::not_found(TrafficMirrorTargetId(7));
        assert_eq!(modify(nowhere).await, Err(error));
    }

    #[tokio::test]
    async fn a_session_goes_with_its_source_and_outlives_its_target() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let mirror = mirror(&control, &place, "t3.micro").await;
        let session = session(&control, &mirror, 1).await;
        // The target's interface may go.
        let gone = control.delete_network_interface(&caller, mirror.target_eni);
        assert_eq!(gone.await, Ok(()));
        let region = control.read(&caller).await.expect("the region is alive");
        assert!(region.traffic_mirror_sessions.contains_key(&session));
        assert!(region.traffic_mirror_targets.contains_key(&mirror.target));
        let source = &region.network_interfaces[&mirror.source];
        let instance = region.instance_of(source).expect("it is attached").id;
        // Its source goes with the instance.
        let ended = control.terminate_instances(&caller, &[instance]).await;
        assert!(ended.is_ok());
        let region = control.read(&caller).await.expect("the region is alive");
        assert!(!region.network_interfaces.contains_key(&mirror.source));
        assert!(region.traffic_mirror_sessions.is_empty());
        let gone = control.delete_traffic_mirror_session(&caller, session);
        assert_eq!(gone.await, Err(Error::not_found(session)));
    }

    #[tokio::test]
    async fn a_small_target_has_ten_sources() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let first = mirror(&control, &place, "t3.micro").await;
        let create = async |mirror: &crate::fixture::Mirror, number| {
            let mut input = new_session(mirror, number);
            input.target = first.target;
            let made = control.create_traffic_mirror_session(&caller, &input).await;
            made.map(drop)
        };
        assert_eq!(create(&first, 1).await, Ok(()));
        for _ in 1..SOURCES_MAX {
            let next = mirror(&control, &place, "t3.micro").await;
            assert_eq!(create(&next, 1).await, Ok(()));
        }
        // Another session of a source that it has is no new source.
        assert_eq!(create(&first, 2).await, Ok(()));
        let last = mirror(&control, &place, "t3.micro").await;
        let target = first.target;
        let error = MirroringError::MirrorSourcesPerTargetExceeded { target };
        assert_eq!(create(&last, 1).await, Err(error.into()));
    }

    #[tokio::test]
    async fn the_quota_ends_sessions() {
        let quotas = Quotas {
            traffic_mirror_sessions: 1,
            ..Quotas::default()
        };
        let (control, caller) = (control().with_quotas(quotas), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let mirror = mirror(&control, &place, "t3.micro").await;
        let mut input = new_session(&mirror, 1);
        input.client_token = Some("once".to_owned());
        let create = || control.create_traffic_mirror_session(&caller, &input);
        let first = create().await;
        assert!(first.is_ok());
        assert_eq!(create().await, first);
        let second = new_session(&mirror, 2);
        let second = control.create_traffic_mirror_session(&caller, &second);
        let error = MirroringError::TrafficMirrorSessionLimitExceeded;
        assert_eq!(second.await, Err(error.into()));
    }
}
