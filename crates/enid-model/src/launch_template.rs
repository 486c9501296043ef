//! A launch template and its versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::LaunchTemplateId;
use crate::time::Timestamp;

/// A launch template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    /// Its id.
    pub id: LaunchTemplateId,
    /// Its name, unique in the region.
    pub name: String,
    /// When it was made.
    pub create_time: Timestamp,
    /// Who made it: an ARN.
    pub created_by: String,
    /// The version used when none is named.
    pub default_version: u64,
    /// The highest number ever given to a version.
    pub latest_version: u64,
    /// The versions that are left, by number.
    pub versions: BTreeMap<u64, LaunchTemplateVersion>,
    /// Its tags.
    pub tags: Tags,
}

/// A version of a launch template. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplateVersion {
    /// Free text.
    pub description: Option<String>,
    /// When it was made.
    pub create_time: Timestamp,
    /// Who made it: an ARN.
    pub created_by: String,
    /// The parameters of a launch, by their names on the wire (`NetworkInterface.1.SubnetId`), in
    /// the form in which RunInstances takes them.
    pub parameters: BTreeMap<String, String>,
}
