//! Reservations in a subnet's blocks.

use enid_control::CreateSubnetCidrReservation;
use enid_model::id::{SubnetCidrReservationId, SubnetId};
use enid_model::subnet::{ReservationKind, SubnetCidrReservation};

use super::filter::Filters;
use super::page::{Page, USUAL};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateSubnetCidrReservationRequest, DeleteSubnetCidrReservationRequest,
    GetSubnetCidrReservationsRequest,
};
use crate::generated::ec2::response::{
    self, CreateSubnetCidrReservationResponse, DeleteSubnetCidrReservationResponse,
    GetSubnetCidrReservationsResponse,
};
use crate::wire::text::Text;

/// CreateSubnetCidrReservation.
pub(super) async fn create_subnet_cidr_reservation(
    ec2: &Ec2,
    context: &Context,
    request: CreateSubnetCidrReservationRequest,
) -> Result<CreateSubnetCidrReservationResponse, ApiError> {
    let input = CreateSubnetCidrReservation {
        subnet: id::parse(&request.subnet_id)?,
        cidr: request.cidr,
        // The support table lets nothing else pass.
        kind: match &*request.reservation_type {
            "prefix" => ReservationKind::Prefix,
            _ => ReservationKind::Explicit,
        },
        description: request.description,
        tags: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let made = ec2.control.create_subnet_cidr_reservation(&caller, &input);
    Ok(CreateSubnetCidrReservationResponse {
        subnet_cidr_reservation: Some(answer(context, &made.await?)),
    })
}

/// DeleteSubnetCidrReservation.
pub(super) async fn delete_subnet_cidr_reservation(
    ec2: &Ec2,
    context: &Context,
    request: DeleteSubnetCidrReservationRequest,
) -> Result<DeleteSubnetCidrReservationResponse, ApiError> {
    let reservation = id::parse(&request.subnet_cidr_reservation_id)?;
    let caller = context.caller();
    let gone = ec2
        .control
        .delete_subnet_cidr_reservation(&caller, reservation);
    Ok(DeleteSubnetCidrReservationResponse {
        deleted_subnet_cidr_reservation: Some(answer(context, &gone.await?)),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Kind,
    Subnet,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "reservationType" | "reservation-type" => Field::Kind,
        "subnet-id" => Field::Subnet,
        _ => return None,
    })
}

/// GetSubnetCidrReservations.
pub(super) async fn get_subnet_cidr_reservations(
    ec2: &Ec2,
    context: &Context,
    request: GetSubnetCidrReservationsRequest,
) -> Result<GetSubnetCidrReservationsResponse, ApiError> {
    let subnet: SubnetId = id::parse(&request.subnet_id)?;
    let filters = Filters::compile(&request.filters, field)?;
    let page = Page::read(
        "GetSubnetCidrReservations",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        None,
    )?;
    let after: Option<SubnetCidrReservationId> = page.after()?;
    let region = ec2.control.read(&context.caller()).await?;
    if !region.subnets.contains_key(&subnet) {
        return Err(id::not_found("subnet", &[&request.subnet_id]));
    }
    let reservations = region
        .reservations_of_subnet(subnet)
        .filter(|id| after.is_none_or(|after| *id > after))
        .filter_map(|id| region.subnet_cidr_reservations.get(&id))
        .filter(|reservation| {
            filters.match_resource(&reservation.tags, |field, test| match field {
                Field::Kind => test.text(kind(reservation)),
                Field::Subnet => test.display(reservation.subnet),
            })
        });
    let (reservations, next_token) = page.take(reservations, |found| found.id.to_string());
    let of_family = |is_ipv4: bool| {
        let all = reservations.iter();
        let some = all.filter(|found| found.cidr.addr().is_ipv4() == is_ipv4);
        some.map(|found| answer(context, found)).collect()
    };
    Ok(GetSubnetCidrReservationsResponse {
        subnet_ipv4_cidr_reservations: of_family(true),
        subnet_ipv6_cidr_reservations: of_family(false),
        next_token,
    })
}

fn kind(reservation: &SubnetCidrReservation) -> &'static str {
    match reservation.kind {
        ReservationKind::Explicit => "explicit",
        ReservationKind::Prefix => "prefix",
    }
}

fn answer(
    context: &Context,
    reservation: &SubnetCidrReservation,
) -> response::SubnetCidrReservation {
    response::SubnetCidrReservation {
        subnet_cidr_reservation_id: Some(Text::display(reservation.id)),
        subnet_id: Some(Text::display(reservation.subnet)),
        cidr: Some(Text::display(reservation.cidr)),
        reservation_type: Some(kind(reservation).into()),
        owner_id: Some(Text::display(context.account)),
        description: reservation.description.as_deref().map(Text::from),
        tags: tag::answer(&reservation.tags),
    }
}
