//! The limits of an account.

use enid_control::{
    LISTENERS_MAX, TARGETS_PER_BALANCER_MAX, TARGETS_PER_GROUP_MAX, TARGETS_PER_ZONE_MAX,
};
use enid_model::listener::FORWARDS_MAX;

use super::{Elbv2, page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::elbv2::request::DescribeAccountLimitsRequest;
use crate::generated::elbv2::response::{DescribeAccountLimitsResponse, Limit};
use crate::wire::text::Text;

/// DescribeAccountLimits: those that are held here.
pub(super) async fn describe_account_limits(
    elbv2: &Elbv2,
    _context: &Context,
    request: DescribeAccountLimitsRequest,
) -> Result<DescribeAccountLimitsResponse, ApiError> {
    let quotas = elbv2.control.quotas();
    let limits = [
        ("listeners-per-network-load-balancer", LISTENERS_MAX),
        ("network-load-balancers", quotas.network_load_balancers),
        ("target-groups", quotas.target_groups),
        (
            "target-groups-per-action-on-network-load-balancer",
            FORWARDS_MAX,
        ),
        (
            "targets-per-availability-zone-per-network-load-balancer",
            TARGETS_PER_ZONE_MAX,
        ),
        (
            "targets-per-network-load-balancer",
            TARGETS_PER_BALANCER_MAX,
        ),
        ("targets-per-target-group", TARGETS_PER_GROUP_MAX),
    ];
    let limits = limits.into_iter().map(|(name, max)| {
        let limit = Limit {
            name: Some(name.into()),
            max: Some(Text::display(max)),
        };
        (name.to_owned(), limit)
    });
    let (limits, next_marker) = page::take(limits, request.marker.as_deref(), request.page_size)?;
    Ok(DescribeAccountLimitsResponse {
        limits,
        next_marker,
    })
}
