//! Images. There is one for each driver of instances, and every other well-formed id stands for the
//! sandbox too: people bring configurations that name images of AWS.

use enid_control::ROOT_SIZE_GIB;
use enid_model::image::Driver;
use enid_model::instance_type::host_architecture;
use enid_model::volume::ROOT_DEVICE;

use super::Ec2;
use super::filter::Filters;
use super::instance::describe::{
    ENA_SUPPORT, HYPERVISOR, PLATFORM_DETAILS, ROOT_DEVICE_TYPE, VIRTUALIZATION_TYPE,
};
use super::page::{Page, USUAL};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::DescribeImagesRequest;
use crate::generated::ec2::response::{
    BlockDeviceMapping, DescribeImagesResponse, EbsBlockDevice, Image,
};
use crate::wire::text::Text;

/// What images can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Architecture,
    CreationDate,
    Description,
    DeviceEncrypted,
    DeviceGoesWithInstance,
    DeviceSize,
    DeviceType,
    EnaSupport,
    Hypervisor,
    Id,
    ImageType,
    IsPublic,
    /// What the image does not have: it matches nothing.
    Lacking,
    Location,
    Name,
    OwnerAlias,
    OwnerId,
    PlatformDetails,
    RootDeviceName,
    RootDeviceType,
    State,
    VirtualizationType,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "architecture" => Self::Architecture,
            "creation-date" => Self::CreationDate,
            "description" => Self::Description,
            "ena-support" => Self::EnaSupport,
            "hypervisor" => Self::Hypervisor,
            "image-id" => Self::Id,
            "image-type" => Self::ImageType,
            "is-public" => Self::IsPublic,
            "manifest-location" => Self::Location,
            "name" => Self::Name,
            "owner-alias" => Self::OwnerAlias,
            "owner-id" => Self::OwnerId,
            "platform-details" => Self::PlatformDetails,
            "root-device-name" => Self::RootDeviceName,
            "root-device-type" => Self::RootDeviceType,
            "state" => Self::State,
            "virtualization-type" => Self::VirtualizationType,
            "block-device-mapping.delete-on-termination" => Self::DeviceGoesWithInstance,
            "block-device-mapping.device-name" => Self::RootDeviceName,
            "block-device-mapping.encrypted" => Self::DeviceEncrypted,
            "block-device-mapping.volume-size" => Self::DeviceSize,
            "block-device-mapping.volume-type" => Self::DeviceType,
            "block-device-mapping.snapshot-id"
            | "kernel-id"
            | "platform"
            | "product-code"
            | "product-code.type"
            | "ramdisk-id"
            | "state-reason-code"
            | "state-reason-message" => Self::Lacking,
            _ => return None,
        })
    }
}

/// DescribeImages.
pub(super) async fn describe_images(
    ec2: &Ec2,
    context: &Context,
    request: DescribeImagesRequest,
) -> Result<DescribeImagesResponse, ApiError> {
    let DescribeImagesRequest {
        executable_users,
        image_ids,
        owners,
        include_deprecated: _,
        include_disabled: _,
        max_results,
        next_token,
        filters,
    } = request;
    let filters = Filters::compile(&filters, Field::named)?;
    let page = Page::read(
        "DescribeImages",
        USUAL,
        max_results,
        next_token.as_deref(),
        (!image_ids.is_empty()).then_some("imageIds"),
    )?;
    for id in &image_ids {
        ec2.control.check_image(id)?;
    }
    let account = Text::display(context.account);
    let own =
        |owner: &String| matches!(owner.as_str(), "amazon" | "self") || owner == account.as_str();
    // Public, so that everybody may launch it.
    let is_wanted = (owners.is_empty() || owners.iter().any(own))
        && (executable_users.is_empty() || executable_users.iter().any(|user| user == "all"));
    let after: Option<String> = page.after()?;
    let mut ids: Vec<&str> = image_ids.iter().map(String::as_str).collect();
    if ids.is_empty() {
        ids.extend(Driver::ALL.map(Driver::image));
    }
    ids.sort_unstable();
    ids.dedup();
    let no_tags = std::collections::BTreeMap::new();
    let ids = ids.into_iter().filter(|id| {
        is_wanted
            && after.as_deref().is_none_or(|after| *id > after)
            && filters.match_resource(&no_tags, |field, test| match field {
                Field::Architecture => test.text(host_architecture()),
                Field::CreationDate => test.text(creation_date(id)),
                Field::Description => test.text(description(id)),
                Field::EnaSupport => test.flag(ENA_SUPPORT),
                Field::Hypervisor => test.text(HYPERVISOR),
                Field::Id => test.text(id),
                Field::ImageType => test.text(IMAGE_TYPE),
                Field::IsPublic => test.flag(true),
                Field::DeviceEncrypted => test.flag(false),
                Field::DeviceGoesWithInstance => test.flag(true),
                Field::DeviceSize => test.text(&ROOT_SIZE_GIB.to_string()),
                Field::DeviceType => test.text(ROOT_VOLUME_TYPE),
                Field::Lacking => {}
                Field::Location => test.text(&location(id)),
                Field::Name => test.text(name(id)),
                Field::OwnerAlias => test.text(OWNER_ALIAS),
                Field::OwnerId => test.text(&account),
                Field::PlatformDetails => test.text(PLATFORM_DETAILS),
                Field::RootDeviceName => test.text(ROOT_DEVICE),
                Field::RootDeviceType => test.text(ROOT_DEVICE_TYPE),
                Field::State => test.text(STATE),
                Field::VirtualizationType => test.text(VIRTUALIZATION_TYPE),
            })
    });
    let (ids, next_token) = page.take(ids, |id| (*id).to_owned());
    Ok(DescribeImagesResponse {
        next_token,
        images: ids.into_iter().map(|id| image(id, &account)).collect(),
    })
}

fn image(id: &str, account: &Text) -> Image {
    Image {
        platform_details: Some(PLATFORM_DETAILS.into()),
        block_device_mappings: vec![BlockDeviceMapping {
            ebs: Some(EbsBlockDevice {
                delete_on_termination: Some(true),
                volume_size: i32::try_from(ROOT_SIZE_GIB).ok(),
                volume_type: Some(ROOT_VOLUME_TYPE.into()),
                encrypted: Some(false),
            }),
            device_name: Some(ROOT_DEVICE.into()),
        }],
        description: Some(description(id).into()),
        ena_support: Some(ENA_SUPPORT),
        hypervisor: Some(HYPERVISOR.into()),
        image_owner_alias: Some(OWNER_ALIAS.into()),
        name: Some(name(id).into()),
        root_device_name: Some(ROOT_DEVICE.into()),
        root_device_type: Some(ROOT_DEVICE_TYPE.into()),
        tags: Vec::new(),
        virtualization_type: Some(VIRTUALIZATION_TYPE.into()),
        image_id: Some(id.into()),
        image_location: Some(location(id).into()),
        state: Some(STATE.into()),
        owner_id: Some(account.clone()),
        creation_date: Some(creation_date(id).into()),
        public: Some(true),
        product_codes: Vec::new(),
        architecture: Some(host_architecture().into()),
        image_type: Some(IMAGE_TYPE.into()),
    }
}

fn name(id: &str) -> &'static str {
    match Driver::of_image(id) {
        Driver::Namespace => "enid-netns",
        Driver::Sandbox => "enid-sandbox",
        Driver::Tap => "enid-tap",
    }
}

fn description(id: &str) -> &'static str {
    match Driver::of_image(id) {
        Driver::Namespace => "A network namespace of this host that is adopted (enid adopt)",
        Driver::Sandbox => "A sandbox of this host",
        Driver::Tap => "A virtual machine whose interfaces are taps of this host (enid tap)",
    }
}

/// Who takes the latest or the first of all images gets the sandbox.
fn creation_date(id: &str) -> &'static str {
    match Driver::of_image(id) {
        Driver::Sandbox => "2026-01-01T00:00:00.000Z",
        Driver::Namespace | Driver::Tap => "2025-12-01T00:00:00.000Z",
    }
}

fn location(id: &str) -> String {
    format!("{OWNER_ALIAS}/{}", name(id))
}

const IMAGE_TYPE: &str = "machine";
const OWNER_ALIAS: &str = "amazon";
const ROOT_VOLUME_TYPE: &str = "gp3";
const STATE: &str = "available";
