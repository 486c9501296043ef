//! Volumes: recorded with the instances that they were made for, as clients asked for them.

use enid_control::place_of_volume;
use enid_model::id::VolumeId;
use enid_model::region::Region;
use enid_model::state::RegionState;
use enid_model::volume::Volume;

use super::filter::{Filters, Test};
use super::page::{Page, USUAL};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{DeleteVolumeRequest, DescribeVolumesRequest};
use crate::generated::ec2::response::{
    self, DeleteVolumeResponse, DescribeVolumesResponse, VolumeAttachment,
};
use crate::wire::text::Text;

/// What volumes can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    AttachTime,
    CreateTime,
    DeleteOnTermination,
    Device,
    Encrypted,
    Id,
    Instance,
    /// What no volume has: it matches nothing, as in AWS.
    Lacking,
    /// What is off everywhere.
    Off,
    Size,
    Status,
    Type,
    /// Whether it is attached, in the word for that.
    Attached,
    Zone,
    ZoneId,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "attachment.attach-time" => Self::AttachTime,
            "attachment.delete-on-termination" => Self::DeleteOnTermination,
            "attachment.device" => Self::Device,
            "attachment.instance-id" => Self::Instance,
            "attachment.status" => Self::Attached,
            "availability-zone" => Self::Zone,
            "availability-zone-id" => Self::ZoneId,
            "create-time" => Self::CreateTime,
            "encrypted" => Self::Encrypted,
            "fast-restored" | "multi-attach-enabled" | "operator.managed" => Self::Off,
            "operator.principal" | "snapshot-id" => Self::Lacking,
            "size" => Self::Size,
            "status" => Self::Status,
            "volume-id" => Self::Id,
            "volume-type" => Self::Type,
            _ => return None,
        })
    }
}

/// DescribeVolumes.
pub(super) async fn describe_volumes(
    ec2: &Ec2,
    context: &Context,
    request: DescribeVolumesRequest,
) -> Result<DescribeVolumesResponse, ApiError> {
    let DescribeVolumesRequest {
        volume_ids,
        include_managed_resources: _,
        filters,
        max_results,
        next_token,
    } = request;
    let filters = Filters::compile(&filters, Field::named)?;
    let page = Page::read(
        "DescribeVolumes",
        USUAL,
        max_results,
        next_token.as_deref(),
        (!volume_ids.is_empty()).then_some("volumeIds"),
    )?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<VolumeId> = page.after()?;
    let named = id::find(&volume_ids, &region.volumes)?;
    let all = region.volumes.values().filter(|_| volume_ids.is_empty());
    let volumes = named.into_values().chain(all).filter(|volume| {
        after.is_none_or(|after| volume.id > after)
            && filters.match_resource(&volume.tags, |field, one| {
                test(&region, context.region, volume, field, one);
            })
    });
    let (volumes, next_token) = page.take(volumes, |volume| volume.id.to_string());
    let volumes = volumes.into_iter();
    Ok(DescribeVolumesResponse {
        next_token,
        volumes: volumes
            .map(|volume| answer(&region, context.region, volume))
            .collect(),
    })
}

/// Tells the values that a volume has under a filter's name.
fn test(state: &RegionState, region: &Region, volume: &Volume, field: Field, test: &mut Test<'_>) {
    let place = place_of_volume(state, volume);
    match field {
        Field::AttachTime => place
            .iter()
            .for_each(|(_, device)| test.display(device.attach_time)),
        Field::Attached => place.iter().for_each(|_| test.text(ATTACHED)),
        Field::CreateTime => test.display(volume.create_time),
        Field::DeleteOnTermination => place
            .iter()
            .for_each(|(_, device)| test.flag(device.delete_on_termination)),
        Field::Device => place.iter().for_each(|(_, device)| test.text(&device.name)),
        Field::Encrypted => test.flag(volume.form.encrypted),
        Field::Id => test.display(volume.id),
        Field::Instance => place
            .iter()
            .for_each(|(instance, _)| test.display(instance.id)),
        Field::Lacking => {}
        Field::Off => test.flag(false),
        Field::Size => test.display(volume.form.size_gib),
        Field::Status => test.text(status(volume)),
        Field::Type => test.text(&volume.form.volume_type),
        Field::Zone => test.text(&volume.zone),
        Field::ZoneId => zone_id(region, volume).iter().for_each(|id| test.text(id)),
    }
}

fn answer(state: &RegionState, region: &Region, volume: &Volume) -> response::Volume {
    let number = |value: u32| i32::try_from(value).ok();
    let form = &volume.form;
    let place = place_of_volume(state, volume);
    let attachments = place
        .into_iter()
        .map(|(instance, device)| VolumeAttachment {
            delete_on_termination: Some(device.delete_on_termination),
            volume_id: Some(Text::display(volume.id)),
            instance_id: Some(Text::display(instance.id)),
            device: Some(device.name.as_str().into()),
            state: Some(ATTACHED.into()),
            attach_time: Some(device.attach_time),
        });
    response::Volume {
        availability_zone_id: zone_id(region, volume),
        iops: form.iops.and_then(number),
        tags: tag::answer(&volume.tags),
        volume_type: Some(form.volume_type.as_str().into()),
        multi_attach_enabled: Some(false),
        throughput: form.throughput.and_then(number),
        volume_id: Some(Text::display(volume.id)),
        size: number(form.size_gib),
        // It was made from no snapshot, which AWS says with an empty text.
        snapshot_id: Some("".into()),
        availability_zone: Some(volume.zone.as_str().into()),
        state: Some(status(volume).into()),
        create_time: Some(volume.create_time),
        attachments: attachments.collect(),
        kms_key_id: form.kms_key.as_deref().map(Text::from),
        encrypted: Some(form.encrypted),
    }
}

/// DeleteVolume.
pub(super) async fn delete_volume(
    ec2: &Ec2,
    context: &Context,
    request: DeleteVolumeRequest,
) -> Result<DeleteVolumeResponse, ApiError> {
    let volume = id::parse(&request.volume_id)?;
    ec2.control.delete_volume(&context.caller(), volume).await?;
    Ok(DeleteVolumeResponse {})
}

fn status(volume: &Volume) -> &'static str {
    match volume.instance {
        Some(_) => "in-use",
        None => "available",
    }
}

fn zone_id(region: &Region, volume: &Volume) -> Option<Text> {
    let mut zones = region.zones();
    let found = zones.find(|(name, _)| *name == volume.zone);
    found.map(|(_, id)| id.into())
}

/// What an instance has is attached, from its launch on.
pub(super) const ATTACHED: &str = "attached";
