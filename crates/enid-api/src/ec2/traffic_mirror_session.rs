//! Sessions of traffic mirroring.

use enid_control::{CreateTrafficMirrorSession, MirrorSessionField, ModifyTrafficMirrorSession};
use enid_model::id::TrafficMirrorSessionId;
use enid_model::traffic_mirror::TrafficMirrorSession;

use super::filter::Filters;
use super::page::{Page, USUAL};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateTrafficMirrorSessionRequest, DeleteTrafficMirrorSessionRequest,
    DescribeTrafficMirrorSessionsRequest, ModifyTrafficMirrorSessionRequest,
};
use crate::generated::ec2::response::{
    self, CreateTrafficMirrorSessionResponse, DeleteTrafficMirrorSessionResponse,
    DescribeTrafficMirrorSessionsResponse, ModifyTrafficMirrorSessionResponse,
};
use crate::wire::text::Text;

/// CreateTrafficMirrorSession.
pub(super) async fn create_traffic_mirror_session(
    ec2: &Ec2,
    context: &Context,
    request: CreateTrafficMirrorSessionRequest,
) -> Result<CreateTrafficMirrorSessionResponse, ApiError> {
    let input = CreateTrafficMirrorSession {
        eni: id::parse(&request.network_interface_id)?,
        target: id::parse(&request.traffic_mirror_target_id)?,
        filter: id::parse(&request.traffic_mirror_filter_id)?,
        number: request.session_number,
        virtual_network_id: request.virtual_network_id,
        packet_length: request.packet_length,
        description: request.description.filter(|text| !text.is_empty()),
        client_token: request.client_token.filter(|token| !token.is_empty()),
        tags: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let made = ec2.control.create_traffic_mirror_session(&caller, &input);
    let session = answer(context, &made.await?);
    Ok(CreateTrafficMirrorSessionResponse {
        traffic_mirror_session: Some(session),
        client_token: input.client_token.map(Text::from),
    })
}

/// ModifyTrafficMirrorSession.
pub(super) async fn modify_traffic_mirror_session(
    ec2: &Ec2,
    context: &Context,
    request: ModifyTrafficMirrorSessionRequest,
) -> Result<ModifyTrafficMirrorSessionResponse, ApiError> {
    let session = id::parse(&request.traffic_mirror_session_id)?;
    let remove = request.remove_fields.iter();
    let input = ModifyTrafficMirrorSession {
        target: id::parse_optional(request.traffic_mirror_target_id.as_deref())?,
        filter: id::parse_optional(request.traffic_mirror_filter_id.as_deref())?,
        number: request.session_number,
        virtual_network_id: request.virtual_network_id,
        packet_length: request.packet_length,
        description: request.description,
        remove: remove.map(|field| removed(field)).collect(),
    };
    let caller = context.caller();
    let session = ec2
        .control
        .modify_traffic_mirror_session(&caller, session, &input)
        .await?;
    Ok(ModifyTrafficMirrorSessionResponse {
        traffic_mirror_session: Some(answer(context, &session)),
    })
}

fn removed(text: &str) -> MirrorSessionField {
    match text {
        "description" => MirrorSessionField::Description,
        "packet-length" => MirrorSessionField::PacketLength,
        // The parser lets nothing else pass.
        _ => MirrorSessionField::VirtualNetworkId,
    }
}

/// DeleteTrafficMirrorSession.
pub(super) async fn delete_traffic_mirror_session(
    ec2: &Ec2,
    context: &Context,
    request: DeleteTrafficMirrorSessionRequest,
) -> Result<DeleteTrafficMirrorSessionResponse, ApiError> {
    let session = id::parse(&request.traffic_mirror_session_id)?;
    let caller = context.caller();
    let gone = ec2.control.delete_traffic_mirror_session(&caller, session);
    gone.await?;
    Ok(DeleteTrafficMirrorSessionResponse {
        traffic_mirror_session_id: Some(Text::display(session)),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Description,
    FilterId,
    Id,
    NetworkInterfaceId,
    Number,
    OwnerId,
    PacketLength,
    TargetId,
    VirtualNetworkId,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "description" => Field::Description,
        "network-interface-id" => Field::NetworkInterfaceId,
        "owner-id" => Field::OwnerId,
        "packet-length" => Field::PacketLength,
        "session-number" => Field::Number,
        "traffic-mirror-filter-id" => Field::FilterId,
        "traffic-mirror-session-id" => Field::Id,
        "traffic-mirror-target-id" => Field::TargetId,
        "virtual-network-id" => Field::VirtualNetworkId,
        _ => return None,
    })
}

/// DescribeTrafficMirrorSessions.
pub(super) async fn describe_traffic_mirror_sessions(
    ec2: &Ec2,
    context: &Context,
    request: DescribeTrafficMirrorSessionsRequest,
) -> Result<DescribeTrafficMirrorSessionsResponse, ApiError> {
    let ids = request.traffic_mirror_session_ids;
    let named = (!ids.is_empty()).then_some("trafficMirrorSessionIds");
    let page = Page::read(
        "DescribeTrafficMirrorSessions",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        named,
    )?;
    let filters = Filters::compile(&request.filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<TrafficMirrorSessionId> = page.after()?;
    let wanted = id::find(&ids, &region.traffic_mirror_sessions)?;
    let wanted = wanted.into_values();
    let all = region.traffic_mirror_sessions.values();
    let all = all.filter(|_| named.is_none());
    let sessions = wanted.chain(all).filter(|session| {
        after.is_none_or(|after| session.id > after)
            && filters.match_resource(&session.tags, |field, test| match field {
                Field::Description => session.description.iter().for_each(|text| test.text(text)),
                Field::FilterId => test.display(session.filter),
                Field::Id => test.display(session.id),
                Field::NetworkInterfaceId => test.display(session.network_interface),
                Field::Number => test.display(session.number),
                Field::OwnerId => test.display(context.account),
                Field::PacketLength => {
                    session
                        .packet_length
                        .iter()
                        .for_each(|own| test.display(own));
                }
                Field::TargetId => test.display(session.target),
                Field::VirtualNetworkId => test.display(session.virtual_network_id),
            })
    });
    let (sessions, next_token) = page.take(sessions, |session| session.id.to_string());
    let sessions = sessions.into_iter();
    Ok(DescribeTrafficMirrorSessionsResponse {
        traffic_mirror_sessions: sessions.map(|session| answer(context, session)).collect(),
        next_token,
    })
}

fn answer(context: &Context, session: &TrafficMirrorSession) -> response::TrafficMirrorSession {
    response::TrafficMirrorSession {
        traffic_mirror_session_id: Some(Text::display(session.id)),
        traffic_mirror_target_id: Some(Text::display(session.target)),
        traffic_mirror_filter_id: Some(Text::display(session.filter)),
        network_interface_id: Some(Text::display(session.network_interface)),
        owner_id: Some(Text::display(context.account)),
        packet_length: session.packet_length.map(i32::from),
        session_number: Some(session.number.into()),
        virtual_network_id: i32::try_from(session.virtual_network_id).ok(),
        description: session.description.as_deref().map(Text::from),
        tags: tag::answer(&session.tags),
    }
}
