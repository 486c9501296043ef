//! Volumes. There are none: an instance is a sandbox of its host, and storage is not networking.
//! Tools that look after an instance ask for its volumes all the same, and "none" is the truth.

use super::Ec2;
use super::filter::Filters;
use super::page::{Page, USUAL};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::DescribeVolumesRequest;
use crate::generated::ec2::response::DescribeVolumesResponse;

/// What volumes can be filtered by. It decides which names are refused, and matches nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Field;

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "attachment.attach-time"
            | "attachment.delete-on-termination"
            | "attachment.device"
            | "attachment.instance-id"
            | "attachment.status"
            | "availability-zone"
            | "availability-zone-id"
            | "create-time"
            | "encrypted"
            | "fast-restored"
            | "multi-attach-enabled"
            | "operator.managed"
            | "operator.principal"
            | "size"
            | "snapshot-id"
            | "status"
            | "volume-id"
            | "volume-type" => Self,
            _ => return None,
        })
    }
}

/// DescribeVolumes.
pub(super) async fn describe_volumes(
    _ec2: &Ec2,
    _context: &Context,
    request: DescribeVolumesRequest,
) -> Result<DescribeVolumesResponse, ApiError> {
    let DescribeVolumesRequest {
        volume_ids,
        include_managed_resources: _,
        filters,
        max_results,
        next_token,
    } = request;
    Filters::compile(&filters, Field::named)?;
    let page = Page::read(
        "DescribeVolumes",
        USUAL,
        max_results,
        next_token.as_deref(),
        (!volume_ids.is_empty()).then_some("volumeIds"),
    )?;
    let _: Option<String> = page.after()?;
    if let Some(malformed) = volume_ids.iter().find(|id| !is_well_formed(id)) {
        let short: String = malformed.chars().take(100).collect();
        let message = format!("Invalid id: \"{short}\" (expecting \"vol-...\")");
        return Err(ApiError::new("InvalidVolumeID.Malformed", 400, message));
    }
    if let Some(id) = volume_ids.first() {
        let message = format!("The volume '{id}' does not exist.");
        return Err(ApiError::new("InvalidVolume.NotFound", 400, message));
    }
    Ok(DescribeVolumesResponse {
        next_token: None,
        volumes: Vec::new(),
    })
}

fn is_well_formed(id: &str) -> bool {
    let digits = id.strip_prefix("vol-").unwrap_or_default();
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    matches!(digits.len(), 8 | 17) && digits.bytes().all(lower_hex)
}
