//! Managed prefix lists: blocks that rules and routes name together.
//!
//! A change of entries is a new version; the old ones are kept and can be restored. Whatever names a
//! list is judged by the present version. A rule that names a list counts as many rules as the list
//! may have entries, so a list grows only as far as the quotas of the groups that name it permit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use enid_model::id::{PrefixListId, SecurityGroupId};
use enid_model::key::Kind;
use enid_model::prefix_list::{AddressFamily, LastChange, PrefixList, PrefixListEntry};
use enid_model::security_group::{Direction, SecurityGroup};
use ipnet::IpNet;

use crate::security_group_rule::{check_quota, weights};
use crate::{Caller, Control, Draft, Error, TagSpecification, tag};

/// What CreateManagedPrefixList takes.
#[derive(Debug, Clone)]
pub struct CreatePrefixList {
    /// Its name.
    pub name: String,
    /// Which addresses it shall hold.
    pub family: AddressFamily,
    /// How many entries it may have.
    pub entries_max: i32,
    /// Its first entries.
    pub entries: Vec<WantedEntry>,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

/// An entry as a client writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedEntry {
    /// The block.
    pub cidr: String,
    /// Free text.
    pub description: Option<String>,
}

/// What ModifyManagedPrefixList takes.
#[derive(Debug, Clone, Default)]
pub struct ModifyPrefixList {
    /// The version that the client knows.
    pub current_version: Option<i64>,
    /// A new name.
    pub name: Option<String>,
    /// Entries that shall be there.
    pub add: Vec<WantedEntry>,
    /// Blocks that shall go.
    pub remove: Vec<String>,
    /// A new size; not together with entries.
    pub entries_max: Option<i32>,
}

impl Control {
    /// CreateManagedPrefixList.
    pub async fn create_prefix_list(
        &self,
        caller: &Caller,
        input: &CreatePrefixList,
    ) -> Result<PrefixList, Error> {
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        let tags = tag::specified(&input.tag_specifications, "prefix-list")?;
        let name = checked_name(&input.name)?;
        let entries_max = checked_size(input.entries_max)?;
        check_count(input.entries.len())?;
        let mut entries = Entries::default();
        for entry in checked_all(&input.entries, input.family)? {
            entries.add(entry)?;
        }
        entries.check_size(entries_max)?;
        self.transact(caller, |draft| {
            let made = draft.made_before(OPERATION, token.as_deref(), &parameters)?;
            if let Some(id) = made.and_then(|made| made.first()?.parse().ok()) {
                let known = draft.require::<PrefixList>(id)?;
                return Ok(PrefixList::clone(&known));
            }
            if draft.region.prefix_lists.len() >= draft.quotas.prefix_lists {
                return Err(Error::PrefixListLimitExceeded);
            }
            draft.demand_none_new(Kind::PrefixList);
            let list = PrefixList {
                id: draft.mint(),
                name: name.to_owned(),
                family: input.family,
                entries_max,
                change: LastChange::Created,
                version: FIRST_VERSION,
                versions: [(FIRST_VERSION, entries.clone().into_vec())].into(),
                tags: tags.clone(),
            };
            let made = vec![list.id.to_string()];
            draft.remember(OPERATION, token.as_deref(), &parameters, made);
            draft.create(list.clone());
            Ok(list)
        })
        .await
    }

    /// ModifyManagedPrefixList. Only a change of entries makes a new version.
    pub async fn modify_prefix_list(
        &self,
        caller: &Caller,
        id: PrefixListId,
        input: &ModifyPrefixList,
    ) -> Result<PrefixList, Error> {
        let changes_entries = !input.add.is_empty() || !input.remove.is_empty();
        if changes_entries && input.entries_max.is_some() {
            return Err(Error::EntriesAndSize);
        }
        if !changes_entries && input.entries_max.is_none() && input.name.is_none() {
            return Err(Error::NoAttribute);
        }
        check_count(input.add.len() + input.remove.len())?;
        let name = input.name.as_deref().map(checked_name).transpose()?;
        let entries_max = input.entries_max.map(checked_size).transpose()?;
        self.transact(caller, |draft| {
            let list = draft.require::<PrefixList>(id)?;
            check_version(&list, input.current_version)?;
            let mut new = PrefixList::clone(&list);
            new.change = LastChange::Modified;
            if let Some(name) = name {
                name.clone_into(&mut new.name);
            }
            if changes_entries {
                let entries = edited(&list, input)?;
                entries.check_size(list.entries_max)?;
                new_version(&mut new, entries.into_vec());
            }
            if let Some(entries_max) = entries_max {
                resize(draft, &mut new, entries_max)?;
            }
            draft.update(&list, new.clone());
            Ok(new)
        })
        .await
    }

    /// RestoreManagedPrefixListVersion: an earlier version's entries as a new version.
    pub async fn restore_prefix_list(
        &self,
        caller: &Caller,
        id: PrefixListId,
        previous: i64,
        current: i64,
    ) -> Result<PrefixList, Error> {
        self.transact(caller, |draft| {
            let list = draft.require::<PrefixList>(id)?;
            check_version(&list, Some(current))?;
            let entries = version_of(&list, previous)?.to_vec();
            if entries.len() > usize::try_from(list.entries_max).unwrap_or(usize::MAX) {
                return Err(Error::PrefixListMaxEntriesExceeded);
            }
            let mut new = PrefixList::clone(&list);
            new.change = LastChange::Restored;
            new_version(&mut new, entries);
            draft.update(&list, new.clone());
            Ok(new)
        })
        .await
    }

    /// DeleteManagedPrefixList. Answers what it was.
    pub async fn delete_prefix_list(
        &self,
        caller: &Caller,
        id: PrefixListId,
    ) -> Result<PrefixList, Error> {
        self.transact(caller, |draft| {
            let list = draft.require::<PrefixList>(id)?;
            let region = Arc::clone(&draft.region);
            let named = region.groups_naming_prefix_list(id).next().is_some()
                || region.tables_naming_prefix_list(id).next().is_some();
            if named {
                return Err(Error::PrefixListInUse { id });
            }
            draft.demand_none_new(Kind::SecurityGroup);
            draft.demand_none_new(Kind::RouteTable);
            draft.delete(&list);
            Ok(PrefixList::clone(&list))
        })
        .await
    }
}

/// The entries of a version, by block.
pub fn version_of(list: &PrefixList, version: i64) -> Result<&[PrefixListEntry], Error> {
    let found = u64::try_from(version).ok();
    let found = found.and_then(|version| list.versions.get(&version));
    found
        .map(Vec::as_slice)
        .ok_or(Error::PrefixListVersionUnknown { version })
}

/// Entries by block.
#[derive(Debug, Clone, Default)]
struct Entries(BTreeMap<IpNet, Option<String>>);

impl Entries {
    fn of(list: &PrefixList) -> Self {
        let entries = list.entries().iter();
        Self(
            entries
                .map(|entry| (entry.cidr, entry.description.clone()))
                .collect(),
        )
    }

    fn add(&mut self, entry: PrefixListEntry) -> Result<(), Error> {
        match self.0.get(&entry.cidr) {
            None => {
                self.0.insert(entry.cidr, entry.description);
                Ok(())
            }
            Some(known) if *known == entry.description => Err(Error::PrefixListEntryExists {
                cidr: entry.cidr.to_string().into(),
                description: entry.description.unwrap_or_default().into(),
            }),
            Some(_) => Err(Error::PrefixListEntryRedescribed),
        }
    }

    fn check_size(&self, entries_max: u32) -> Result<(), Error> {
        match u32::try_from(self.0.len()) {
            Ok(count) if count <= entries_max => Ok(()),
            _ => Err(Error::PrefixListMaxEntriesExceeded),
        }
    }

    fn into_vec(self) -> Vec<PrefixListEntry> {
        let entries = self.0.into_iter();
        entries
            .map(|(cidr, description)| PrefixListEntry { cidr, description })
            .collect()
    }
}

/// The entries of a list as a request changes them: first what goes, then what comes.
fn edited(list: &PrefixList, input: &ModifyPrefixList) -> Result<Entries, Error> {
    let mut removed = BTreeSet::new();
    let mut entries = Entries::of(list);
    for text in &input.remove {
        let cidr = block(text, list.family)?;
        if !removed.insert(cidr) {
            return Err(repeated(cidr));
        }
        if entries.0.remove(&cidr).is_none() {
            let cidr = cidr.to_string().into();
            return Err(Error::PrefixListEntryAbsent { cidr });
        }
    }
    for entry in checked_all(&input.add, list.family)? {
        if removed.contains(&entry.cidr) {
            let cidr = entry.cidr.to_string().into();
            return Err(Error::PrefixListEntryAddedAndRemoved { cidr });
        }
        entries.add(entry)?;
    }
    Ok(entries)
}

/// A request's entries, each block once.
fn checked_all(
    entries: &[WantedEntry],
    family: AddressFamily,
) -> Result<Vec<PrefixListEntry>, Error> {
    let mut seen = BTreeSet::new();
    let read = |entry: &WantedEntry| {
        let cidr = block(&entry.cidr, family)?;
        if !seen.insert(cidr) {
            return Err(repeated(cidr));
        }
        let description = entry.description.clone().filter(|text| !text.is_empty());
        let length = description
            .as_deref()
            .map_or(0, |text| text.chars().count());
        if length > TEXT_CHARACTERS_MAX {
            return Err(Error::PrefixListDescriptionTooLong);
        }
        Ok(PrefixListEntry { cidr, description })
    };
    entries.iter().map(read).collect()
}

/// A block of a family, host bits cleared.
fn block(text: &str, family: AddressFamily) -> Result<IpNet, Error> {
    let read: Result<IpNet, _> = text.parse();
    let read = read.map_err(|_malformed| Error::CidrMalformed { cidr: text.into() })?;
    match (read, family) {
        (IpNet::V4(_), AddressFamily::Ipv4) | (IpNet::V6(_), AddressFamily::Ipv6) => {
            Ok(read.trunc())
        }
        _ => Err(Error::PrefixListFamily { cidr: text.into() }),
    }
}

fn repeated(cidr: IpNet) -> Error {
    let cidr = cidr.to_string().into();
    Error::PrefixListEntryTwice { cidr }
}

fn checked_name(name: &str) -> Result<&str, Error> {
    if name.is_empty() {
        return Err(Error::MissingParameter {
            name: "prefixListName",
        });
    }
    if name.chars().count() > TEXT_CHARACTERS_MAX || name.starts_with(RESERVED) {
        return Err(Error::PrefixListNameInvalid);
    }
    Ok(name)
}

/// What the names of AWS's own lists start with.
const RESERVED: &str = "com.amazonaws";
const TEXT_CHARACTERS_MAX: usize = 255;

fn checked_size(size: i32) -> Result<u32, Error> {
    match u32::try_from(size) {
        Ok(size) if (1..=ENTRIES_MAX).contains(&size) => Ok(size),
        _ => Err(Error::PrefixListSizeInvalid { size }),
    }
}

/// A request may speak of this many entries.
fn check_count(count: usize) -> Result<(), Error> {
    if count > ENTRIES_PER_REQUEST_MAX {
        return Err(Error::PrefixListEntriesPerRequest);
    }
    Ok(())
}

fn check_version(list: &PrefixList, named: Option<i64>) -> Result<(), Error> {
    match named {
        Some(version) if u64::try_from(version).ok() != Some(list.version) => {
            Err(Error::PrefixListVersionMismatch)
        }
        _ => Ok(()),
    }
}

/// Makes entries the present ones. Where as many versions are stored as may be the oldest makes room (VPC user
/// guide, "Amazon VPC quotas").
fn new_version(list: &mut PrefixList, entries: Vec<PrefixListEntry>) {
    while list.versions.len() >= VERSIONS_MAX {
        list.versions.pop_first();
    }
    list.version += 1;
    list.versions.insert(list.version, entries);
}

/// Gives a list another size, if it holds its entries and every group that names the list stays
/// within its quota.
fn resize(draft: &mut Draft<'_>, list: &mut PrefixList, entries_max: u32) -> Result<(), Error> {
    Entries::of(list).check_size(entries_max)?;
    let grows = entries_max > list.entries_max;
    list.entries_max = entries_max;
    if !grows {
        return Ok(());
    }
    let groups: Vec<SecurityGroupId> = draft.region.groups_naming_prefix_list(list.id).collect();
    for id in groups {
        let group = draft.require::<SecurityGroup>(id)?;
        let mut weights = weights(draft, &group)?;
        weights.insert(list.id, (list.family, entries_max));
        for direction in [Direction::Egress, Direction::Ingress] {
            check_quota(&group, direction, draft.quotas.rules_per_group, &weights)?;
        }
    }
    // A rule that comes at the same time would count the list as it was.
    draft.demand_none_new(Kind::SecurityGroup);
    Ok(())
}

const OPERATION: &str = "CreateManagedPrefixList";
const FIRST_VERSION: u64 = 1;
/// AWS's quotas of entries and versions of a list.
const ENTRIES_MAX: u32 = 1000;
const VERSIONS_MAX: usize = 1000;
const ENTRIES_PER_REQUEST_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};
    use crate::security_group_rule::tests::{bench, tcp};
    use crate::{IpPermission, PrefixListPeer, Quotas};

    fn entry(cidr: &str) -> WantedEntry {
        WantedEntry {
            cidr: cidr.to_owned(),
            description: None,
        }
    }

    fn create(entries_max: i32, cidrs: &[&str]) -> CreatePrefixList {
        CreatePrefixList {
            name: "offices".to_owned(),
            family: AddressFamily::Ipv4,
            entries_max,
            entries: cidrs.iter().map(|cidr| entry(cidr)).collect(),
            client_token: None,
            tag_specifications: Vec::new(),
        }
    }

    fn add(cidrs: &[&str]) -> ModifyPrefixList {
        ModifyPrefixList {
            add: cidrs.iter().map(|cidr| entry(cidr)).collect(),
            ..ModifyPrefixList::default()
        }
    }

    fn remove(cidrs: &[&str]) -> ModifyPrefixList {
        ModifyPrefixList {
            remove: cidrs.iter().map(|cidr| (*cidr).to_owned()).collect(),
            ..ModifyPrefixList::default()
        }
    }

    fn cidrs(list: &PrefixList) -> Vec<String> {
        let entries = list.entries().iter();
        entries.map(|entry| entry.cidr.to_string()).collect()
    }

    fn code<T>(result: Result<T, Error>) -> Result<(), &'static str> {
        result.map(drop).map_err(|error| error.code())
    }

    #[tokio::test]
    async fn the_oldest_of_a_thousand_versions_makes_room() {
        let (control, caller) = (control(), caller());
        let input = create(3, &["10.0.0.0/8"]);
        let made = control.create_prefix_list(&caller, &input).await;
        let mut list = made.expect("a list");
        let entries = list.entries().to_vec();
        for _ in 0..1000 {
            new_version(&mut list, entries.clone());
        }
        assert_eq!(list.version, 1001);
        assert_eq!(list.versions.len(), 1000);
        assert_eq!(
            list.versions.first_key_value().map(|(version, _)| *version),
            Some(2)
        );
    }

    #[tokio::test]
    async fn entries_have_versions_that_can_be_restored() {
        let (control, caller) = (control(), caller());
        let input = create(3, &["10.0.0.1/8", "10.9.0.0/16"]);
        let made = control.create_prefix_list(&caller, &input).await;
        let list = made.expect("a list");
        assert_eq!((list.version, list.change), (1, LastChange::Created));
        assert_eq!(cidrs(&list), ["10.0.0.0/8", "10.9.0.0/16"]);
        let modify = |input: ModifyPrefixList| {
            let (control, caller, id) = (&control, &caller, list.id);
            async move { control.modify_prefix_list(caller, id, &input).await }
        };
        let removed = modify(remove(&["10.9.0.0/16"])).await.expect("modified");
        assert_eq!((removed.version, removed.change), (2, LastChange::Modified));
        assert_eq!(cidrs(&removed), ["10.0.0.0/8"]);
        let renamed = ModifyPrefixList {
            name: Some("homes".to_owned()),
            ..ModifyPrefixList::default()
        };
        let renamed = modify(renamed).await.expect("renamed");
        assert_eq!((renamed.version, &*renamed.name), (2, "homes"));
        let restore =
            |previous, current| control.restore_prefix_list(&caller, list.id, previous, current);
        assert_eq!(code(restore(1, 1).await), Err("PrefixListVersionMismatch"));
        assert_eq!(code(restore(7, 2).await), Err("InvalidParameterValue"));
        let restored = restore(1, 2).await.expect("restored");
        assert_eq!(
            (restored.version, restored.change),
            (3, LastChange::Restored)
        );
        assert_eq!(cidrs(&restored), ["10.0.0.0/8", "10.9.0.0/16"]);
        assert_eq!(version_of(&restored, 2).map(<[_]>::len), Ok(1));
        assert!(control.delete_prefix_list(&caller, list.id).await.is_ok());
        let gone = control.delete_prefix_list(&caller, list.id).await;
        assert_eq!(code(gone), Err("InvalidPrefixListID.NotFound"));
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_changes_nothing() {
        let (control, caller) = (control(), caller());
        for (input, error) in [
            (create(0, &[]), "InvalidParameterValue"),
            (create(1001, &[]), "InvalidParameterValue"),
            (
                create(1, &["10.0.0.0/8", "10.0.0.0/9"]),
                "PrefixListMaxEntriesExceeded",
            ),
            (
                create(2, &["10.0.0.0/8", "10.1.0.0/8"]),
                "InvalidParameterValue",
            ),
            (create(2, &["10.0.0.0"]), "InvalidParameterValue"),
            (create(2, &["fd00::/8"]), "InvalidParameterValue"),
        ] {
            let refused = control.create_prefix_list(&caller, &input).await;
            assert_eq!(code(refused), Err(error), "{input:?}");
        }
        let reserved = CreatePrefixList {
            name: "com.amazonaws.eu-west-1.s3".to_owned(),
            ..create(1, &[])
        };
        let refused = control.create_prefix_list(&caller, &reserved).await;
        assert_eq!(code(refused), Err("InvalidParameterValue"));

        let made = control
            .create_prefix_list(&caller, &create(2, &["10.0.0.0/8"]))
            .await;
        let list = made.expect("a list");
        let redescribed = ModifyPrefixList {
            add: vec![WantedEntry {
                description: Some("other words".to_owned()),
                ..entry("10.0.0.0/8")
            }],
            ..ModifyPrefixList::default()
        };
        let both = ModifyPrefixList {
            remove: vec!["10.0.0.0/8".to_owned()],
            ..add(&["10.0.0.0/8"])
        };
        let sized = ModifyPrefixList {
            entries_max: Some(9),
            ..add(&["11.0.0.0/8"])
        };
        let stale = ModifyPrefixList {
            current_version: Some(2),
            ..add(&["11.0.0.0/8"])
        };
        let many: Vec<String> = (0..101).map(|n| format!("10.0.{n}.0/24")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (input, error) in [
            (ModifyPrefixList::default(), "InvalidParameterCombination"),
            (sized, "InvalidParameterCombination"),
            (add(&["10.0.0.0/8"]), "InvalidPrefixListModification"),
            (remove(&["11.0.0.0/8"]), "InvalidPrefixListModification"),
            (redescribed, "InvalidRequest"),
            (both, "InvalidParameterValue"),
            (stale, "PrefixListVersionMismatch"),
            (add(&many), "InvalidParameterValue"),
            (
                add(&["11.0.0.0/8", "12.0.0.0/8"]),
                "PrefixListMaxEntriesExceeded",
            ),
        ] {
            let refused = control.modify_prefix_list(&caller, list.id, &input).await;
            assert_eq!(code(refused), Err(error), "{input:?}");
        }
        let region = control.read(&caller).await.expect("a region");
        assert_eq!(
            region.prefix_lists.get(&list.id).map(|l| l.version),
            Some(1)
        );
    }

    #[tokio::test]
    async fn a_token_makes_one_list() {
        let (control, caller) = (control(), caller());
        let input = CreatePrefixList {
            client_token: Some("once".to_owned()),
            ..create(1, &[])
        };
        let first = control.create_prefix_list(&caller, &input).await;
        assert_eq!(control.create_prefix_list(&caller, &input).await, first);
        let other = CreatePrefixList {
            entries_max: 2,
            ..input
        };
        let refused = control.create_prefix_list(&caller, &other).await;
        assert_eq!(code(refused), Err("IdempotentParameterMismatch"));
    }

    fn through(list: PrefixListId) -> IpPermission {
        IpPermission {
            prefix_lists: vec![PrefixListPeer::from(list)],
            ..tcp(22, &[])
        }
    }

    #[tokio::test]
    async fn a_list_that_a_rule_names_stays_and_counts_as_its_size() {
        let bench = bench(control().with_quotas(Quotas {
            rules_per_group: 4,
            ..Quotas::default()
        }))
        .await;
        let (control, caller) = (&bench.control, &bench.caller);
        let made = control.create_prefix_list(caller, &create(3, &[])).await;
        let list = made.expect("a list").id;
        let rules = bench.authorize(&[through(list)]).await.expect("3 of 4");
        let again = bench.authorize(&[through(list)]).await;
        assert_eq!(
            again.map_err(|(code, words)| format!("{code}: {words}")),
            Err(format!(
                "InvalidPermission.Duplicate: the specified rule \
                 \"peer: {list}, TCP, from port: 22, to port: 22, ALLOW\" already exists"
            ))
        );
        let full = bench
            .authorize(&[tcp(1, &["10.0.0.0/8", "11.0.0.0/8"])])
            .await;
        let limit = Err("RulesPerSecurityGroupLimitExceeded");
        assert_eq!(full.map(drop).map_err(|(code, _)| code), limit);
        // An IPv4 list leaves IPv6 rules their room.
        let six = tcp(1, &["fd00::/8", "fd01::/16", "fd02::/16", "fd03::/16"]);
        assert!(bench.authorize(&[six]).await.is_ok());

        let resize = |entries_max| ModifyPrefixList {
            entries_max: Some(entries_max),
            ..ModifyPrefixList::default()
        };
        let grown = control.modify_prefix_list(caller, list, &resize(5)).await;
        assert_eq!(code(grown), limit);
        let grown = control.modify_prefix_list(caller, list, &resize(4)).await;
        assert_eq!(
            grown.map(|list| (list.entries_max, list.version)),
            Ok((4, 1))
        );

        let refused = control.delete_prefix_list(caller, list).await;
        assert_eq!(code(refused), Err("DependencyViolation"));
        let revoke = crate::RevokeRules {
            group: bench.group.id.into(),
            rules: rules.iter().map(|rule| rule.id).collect(),
            ..crate::RevokeRules::default()
        };
        let revoked = control.revoke_rules(caller, Direction::Ingress, &revoke);
        assert!(revoked.await.is_ok());
        assert!(control.delete_prefix_list(caller, list).await.is_ok());
        let unknown = bench.authorize(&[through(list)]).await;
        let unknown = unknown.map(drop).map_err(|(code, _)| code);
        assert_eq!(unknown, Err("InvalidPrefixListID.NotFound"));
    }

    #[tokio::test]
    async fn a_region_has_a_quota_of_lists() {
        let control = control().with_quotas(Quotas {
            prefix_lists: 1,
            ..Quotas::default()
        });
        let caller = caller();
        let one = control.create_prefix_list(&caller, &create(1, &[])).await;
        assert!(one.is_ok());
        let two = control.create_prefix_list(&caller, &create(1, &[])).await;
        assert_eq!(code(two), Err("PrefixListLimitExceeded"));
    }
}
