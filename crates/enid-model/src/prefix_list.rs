//! A managed prefix list.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::id::PrefixListId;

/// A managed prefix list: blocks that rules and routes name together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixList {
    /// Its id.
    pub id: PrefixListId,
    /// Its name; need not be unique.
    pub name: String,
    /// Which addresses it holds.
    pub family: AddressFamily,
    /// How many entries it may have: what a rule or route that names it counts for.
    pub entries_max: u32,
    /// How it came to be as it is.
    #[serde(default)]
    pub change: LastChange,
    /// The present version.
    pub version: u64,
    /// Every version's entries, the present one's included, by number.
    pub versions: BTreeMap<u64, Vec<PrefixListEntry>>,
    /// Its tags.
    pub tags: Tags,
}

impl PrefixList {
    /// The entries of the present version, by block.
    #[must_use]
    pub fn entries(&self) -> &[PrefixListEntry] {
        self.versions.get(&self.version).map_or(&[], Vec::as_slice)
    }
}

/// What was done to a list last: its state, in AWS's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastChange {
    /// It was made.
    #[default]
    Created,
    /// Its entries, name or size were changed.
    Modified,
    /// An earlier version's entries were made the present ones.
    Restored,
}

/// One block of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixListEntry {
    /// The block, host bits zero, of the list's family.
    pub cidr: IpNet,
    /// Free text.
    pub description: Option<String>,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}
