//! Elastic IP addresses: allocating and releasing them, and their reverse DNS names.

use std::net::{IpAddr, Ipv4Addr};

use enid_model::address::{ElasticIp, PublicAddressHolder};
use enid_model::id::AllocationId;
use enid_model::key::Kind;
use enid_model::network_interface::{InterfaceType, NetworkInterface};
use enid_model::vpc::Vpc;

use crate::address_association::disassociate;
use crate::address_lease::parse_address;
use crate::tag::{TagSpecification, specified};
use crate::{Caller, Control, Draft, Error};

/// The name of the pool that every account's addresses come from, as AWS calls its own.
pub const DEFAULT_POOL: &str = "amazon";

/// What AllocateAddress takes.
#[derive(Debug, Clone, Default)]
pub struct AllocateAddress {
    /// The wanted address; else any free one.
    pub address: Option<String>,
    /// The pool: [`DEFAULT_POOL`], which is also what none means, or a named one.
    pub pool: Option<String>,
    /// From where it shall be reachable: the region's name.
    pub network_border_group: Option<String>,
    /// Its tags.
    pub tags: Vec<TagSpecification>,
}

/// How a client names an Elastic IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressSelector {
    /// By its allocation.
    Allocation(AllocationId),
    /// By the address itself, which was EC2-Classic's way: found, and then refused as AWS does.
    PublicIp(Ipv4Addr),
}

impl AddressSelector {
    /// Exactly one of the two names an address.
    pub fn new(allocation: Option<AllocationId>, public_ip: Option<&str>) -> Result<Self, Error> {
        match (allocation, public_ip) {
            (Some(id), None) => Ok(Self::Allocation(id)),
            (None, Some(text)) => Ok(Self::PublicIp(parse_address(text)?)),
            (None, None) => Err(Error::NoAddressNamed),
            (Some(_), Some(_)) => Err(Error::AddressAndAllocation),
        }
    }

    /// The allocation. An address by itself is none: if it is the caller's, `instead` is the error
    /// that tells to name its id.
    pub(crate) fn allocation(
        self,
        draft: &Draft<'_>,
        instead: Error,
    ) -> Result<AllocationId, Error> {
        match self {
            Self::Allocation(id) => Ok(id),
            Self::PublicIp(address) => {
                let mut own = draft.region.elastic_ips.values();
                if own.any(|elastic_ip| elastic_ip.public_ip == address) {
                    return Err(instead);
                }
                Err(not_found(address))
            }
        }
    }
}

impl Control {
    /// AllocateAddress.
    pub async fn allocate_address(
        &self,
        caller: &Caller,
        input: &AllocateAddress,
    ) -> Result<ElasticIp, Error> {
        let tags = specified(&input.tags, "elastic-ip")?;
        let wanted = input.address.as_deref().map(parse_address).transpose()?;
        let pool = match input.pool.as_deref() {
            None | Some(DEFAULT_POOL) => None,
            Some(id) => {
                let found = self.pools.named.iter().find(|pool| pool.id == id);
                Some(found.ok_or_else(|| Error::PoolNotFound { id: id.into() })?)
            }
        };
        let here = caller.region.name;
        if let Some(group) = input.network_border_group.as_deref()
            && group != here
        {
            return Err(Error::InvalidValue {
                value: group.into(),
                name: "networkBorderGroup",
                why: format!("The network border group of this region is {here}.").into(),
            });
        }
        self.transact(caller, |draft| {
            if draft.region.elastic_ips.len() >= draft.quotas.addresses {
                return Err(Error::AddressLimitExceeded);
            }
            draft.demand_none_new(Kind::ElasticIp);
            let id = draft.mint();
            let holder = PublicAddressHolder::ElasticIp(id);
            let public_ip = match (wanted, pool) {
                (None, None) => draft.claim_any_public(holder)?,
                (None, Some(pool)) => draft.claim_named_public(pool, holder)?,
                (Some(address), pool) => {
                    let known = IpAddr::V4(address);
                    let elsewhere = pool.is_some_and(|pool| !pool.cidr.contains(&address));
                    let offered = draft.pools.offers(address) && !elsewhere;
                    if !offered || !draft.is_public_free(known) {
                        return Err(not_found(address));
                    }
                    draft.claim_public(known, holder);
                    address
                }
            };
            let elastic_ip = ElasticIp {
                id,
                public_ip,
                pool: pool_name(draft, public_ip).to_owned(),
                network_border_group: here.to_owned(),
                association: None,
                ptr_record: None,
                tags: tags.clone(),
            };
            draft.create(elastic_ip.clone());
            Ok(elastic_ip)
        })
        .await
    }

    /// ReleaseAddress. One that is associated is released only in the default VPC, where it is
    /// disassociated first.
    pub async fn release_address(
        &self,
        caller: &Caller,
        selector: AddressSelector,
        network_border_group: Option<&str>,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let id = selector.allocation(draft, Error::ReleaseByAddress)?;
            let elastic_ip = draft.require::<ElasticIp>(id)?;
            let address = elastic_ip.public_ip;
            if network_border_group.is_some_and(|group| group != elastic_ip.network_border_group) {
                return Err(not_found(address));
            }
            if let Some(association) = &elastic_ip.association {
                let eni = draft.require::<NetworkInterface>(association.eni)?;
                let vpc = draft.require::<Vpc>(eni.vpc)?;
                if !vpc.is_default || eni.interface_type != InterfaceType::Interface {
                    return Err(Error::ElasticIpInUse { address });
                }
            }
            if elastic_ip.ptr_record.is_some() {
                return Err(Error::AddressLocked { id });
            }
            if let Some(association) = &elastic_ip.association {
                disassociate(draft, association)?;
            }
            draft.release_public(IpAddr::V4(address));
            draft.delete(&elastic_ip);
            Ok(())
        })
        .await
    }

    /// ModifyAddressAttribute: sets the name that the reverse DNS record of an address points to.
    pub async fn modify_address_attribute(
        &self,
        caller: &Caller,
        id: AllocationId,
        domain_name: &str,
    ) -> Result<ElasticIp, Error> {
        let name = domain(domain_name)?;
        self.set_ptr_record(caller, id, Some(name)).await
    }

    /// ResetAddressAttribute: removes that name.
    pub async fn reset_address_attribute(
        &self,
        caller: &Caller,
        id: AllocationId,
    ) -> Result<ElasticIp, Error> {
        self.set_ptr_record(caller, id, None).await
    }

    async fn set_ptr_record(
        &self,
        caller: &Caller,
        id: AllocationId,
        name: Option<String>,
    ) -> Result<ElasticIp, Error> {
        self.transact(caller, |draft| {
            let read = draft.require::<ElasticIp>(id)?;
            let mut elastic_ip = ElasticIp::clone(&read);
            elastic_ip.ptr_record.clone_from(&name);
            draft.edit(&read, |old| old.clone_from(&elastic_ip));
            Ok(elastic_ip)
        })
        .await
    }
}

/// The name of the pool that an address comes from.
fn pool_name<'a>(draft: &Draft<'a>, address: Ipv4Addr) -> &'a str {
    let named = draft.pools.named_of(address);
    named.map_or(DEFAULT_POOL, |pool| &pool.id)
}

fn not_found(address: Ipv4Addr) -> Error {
    Error::PublicAddressNotFound {
        address: address.to_string().into(),
    }
}

/// A host name as DNS has them (RFC 1123), absolute, as AWS reports it.
fn domain(text: &str) -> Result<String, Error> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let letters = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        letters
            && (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels = name.split('.');
    if name.len() > 253 || labels.clone().count() < 2 || !labels.clone().all(label) {
        return Err(Error::InvalidValue {
            value: text.chars().take(100).collect::<String>().into(),
            name: "domainName",
            why: "This is not a fully qualified domain name.".into(),
        });
    }
    Ok(format!("{}.", name.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};
    use crate::{PublicPools, Quotas, Tag};

    async fn allocate(control: &Control) -> Result<ElasticIp, Error> {
        control
            .allocate_address(&caller(), &AllocateAddress::default())
            .await
    }

    fn said<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
        let error = result.expect_err("it is refused");
        format!("{}: {error}", error.code())
    }

    #[tokio::test]
    async fn addresses_are_allocated_up_to_the_quota() {
        let control = control();
        let pools = PublicPools::default();
        for _ in 0..5 {
            let elastic_ip = allocate(&control).await.expect("an address is free");
            assert!(pools.offers(elastic_ip.public_ip));
            assert_eq!(elastic_ip.pool, "amazon");
            assert_eq!(elastic_ip.network_border_group, "eu-west-1");
        }
        let words = "AddressLimitExceeded: The maximum number of addresses has been reached.";
        assert_eq!(said(allocate(&control).await), words);
    }

    #[tokio::test]
    async fn a_wanted_address_is_had_if_it_is_free() {
        let (control, caller) = (control(), caller());
        let want = |address: &str| AllocateAddress {
            address: Some(address.to_owned()),
            ..AllocateAddress::default()
        };
        let input = want("198.18.7.7");
        let first = control.allocate_address(&caller, &input).await;
        let first = first.expect("the address is free");
        assert_eq!(first.public_ip, Ipv4Addr::new(198, 18, 7, 7));
        for (address, words) in [
            (
                "198.18.7.7",
                "InvalidAddress.NotFound: Address '198.18.7.7' not found.",
            ),
            (
                "198.18.0.1",
                "InvalidAddress.NotFound: Address '198.18.0.1' not found.",
            ),
            (
                "203.0.113.7",
                "InvalidAddress.NotFound: Address '203.0.113.7' not found.",
            ),
            (
                "seven",
                "InvalidParameterValue: invalid value for parameter address: seven",
            ),
        ] {
            let refused = control.allocate_address(&caller, &want(address)).await;
            assert_eq!(said(refused), words);
        }
        let released = AddressSelector::Allocation(first.id);
        let released = control.release_address(&caller, released, None).await;
        assert_eq!(released, Ok(()));
        let again = control.allocate_address(&caller, &input).await;
        assert!(again.is_ok_and(|again| again.id != first.id));
    }

    #[tokio::test]
    async fn pools_are_named_and_there_is_one_border_group() {
        let (control, caller) = (control(), caller());
        let mut input = AllocateAddress {
            pool: Some("ipv4pool-ec2-012345".to_owned()),
            ..AllocateAddress::default()
        };
        let refused = control.allocate_address(&caller, &input).await;
        let words =
            "InvalidPublicIpv4PoolID.NotFound: The pool ID 'ipv4pool-ec2-012345' does not exist.";
        assert_eq!(said(refused), words);
        input.pool = Some("amazon".to_owned());
        input.network_border_group = Some("us-east-1".to_owned());
        let refused = control.allocate_address(&caller, &input).await;
        assert_eq!(refused.map_err(|e| e.code()), Err("InvalidParameterValue"));
        input.network_border_group = Some("eu-west-1".to_owned());
        let elastic_ip = control.allocate_address(&caller, &input).await;
        let id = elastic_ip.expect("an address").id;
        let release = |group| {
            let selector = AddressSelector::Allocation(id);
            control.release_address(&caller, selector, group)
        };
        let elsewhere = release(Some("us-east-1")).await;
        assert_eq!(
            elsewhere.map_err(|e| e.code()),
            Err("InvalidAddress.NotFound")
        );
        assert_eq!(release(Some("eu-west-1")).await, Ok(()));
        assert_eq!(release(None).await, Err(Error::not_found(id)));
    }

    #[tokio::test]
    async fn an_address_comes_from_the_pool_that_is_named() {
        let named = crate::NamedPool {
            id: "ipv4pool-ec2-1".to_owned(),
            cidr: "198.18.7.0/24".parse().expect("a literal block parses"),
            description: String::new(),
        };
        let control = control().with_pools(PublicPools {
            named: vec![named],
            ..PublicPools::default()
        });
        let allocate = async |address: Option<&str>, pool: Option<&str>| {
            let input = AllocateAddress {
                address: address.map(str::to_owned),
                pool: pool.map(str::to_owned),
                ..AllocateAddress::default()
            };
            let made = control.allocate_address(&caller(), &input).await;
            made.map(|made| (made.pool, made.public_ip.octets()[2] == 7))
                .map_err(|error| error.code())
        };
        let own = Some("ipv4pool-ec2-1");
        let of_own = Ok(("ipv4pool-ec2-1".to_owned(), true));
        assert_eq!(allocate(None, own).await, of_own);
        assert_eq!(allocate(Some("198.18.7.255"), None).await, of_own);
        let amazon = Ok(("amazon".to_owned(), false));
        assert_eq!(allocate(None, Some("amazon")).await, amazon);
        let elsewhere = allocate(Some("198.18.9.9"), own).await;
        assert_eq!(elsewhere, Err("InvalidAddress.NotFound"));
        let unknown = allocate(None, Some("ipv4pool-ec2-2")).await;
        assert_eq!(unknown, Err("InvalidPublicIpv4PoolID.NotFound"));
    }

    #[tokio::test]
    async fn an_address_is_released_by_its_id() {
        let (control, caller) = (control(), caller());
        let known = allocate(&control).await.expect("an address").public_ip;
        let release = |text: &str| {
            let selector = AddressSelector::new(None, Some(text));
            control.release_address(&caller, selector.expect("an address"), None)
        };
        let words = "InvalidParameterValue: You must specify an allocation id when releasing a VPC elastic IP address";
        assert_eq!(said(release(&known.to_string()).await), words);
        let unknown = release("198.18.0.1").await;
        assert_eq!(
            unknown.map_err(|e| e.code()),
            Err("InvalidAddress.NotFound")
        );
        assert_eq!(AddressSelector::new(None, None), Err(Error::NoAddressNamed));
        let both = AddressSelector::new(Some(AllocationId(1)), Some("198.18.0.1"));
        assert_eq!(both, Err(Error::AddressAndAllocation));
    }

    #[tokio::test]
    async fn a_reverse_name_locks_an_address() {
        let (control, caller) = (control(), caller());
        let id = allocate(&control).await.expect("an address").id;
        let named = control
            .modify_address_attribute(&caller, id, "Mail.example.com")
            .await;
        let record = named.map(|named| named.ptr_record);
        assert_eq!(record, Ok(Some("mail.example.com.".to_owned())));
        let release = || control.release_address(&caller, AddressSelector::Allocation(id), None);
        assert_eq!(release().await, Err(Error::AddressLocked { id }));
        let reset = control.reset_address_attribute(&caller, id).await;
        assert_eq!(reset.map(|reset| reset.ptr_record), Ok(None));
        assert_eq!(release().await, Ok(()));
        let gone = control.reset_address_attribute(&caller, id).await;
        let words =
            format!("InvalidAllocationID.NotFound: The allocation ID '{id}' does not exist");
        assert_eq!(said(gone), words);
    }

    #[test]
    fn names_are_those_of_hosts() {
        assert_eq!(domain("a.example.").as_deref(), Ok("a.example."));
        for wrong in [
            "",
            ".",
            "example",
            "a..b",
            "-a.example",
            "a b.example",
            "a.example..",
        ] {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn no_two_accounts_have_one_address() {
        let pools = PublicPools {
            ipv4: "198.18.0.0/29".parse().expect("a literal block parses"),
            ..PublicPools::default()
        };
        let quotas = Quotas {
            addresses: 10,
            ..Quotas::default()
        };
        let control = control().with_pools(pools).with_quotas(quotas);
        let other = Caller {
            account: enid_model::key::AccountId(7),
            ..caller()
        };
        let mut seen = std::collections::BTreeSet::new();
        for caller in [caller(), other].iter().cycle().take(5) {
            let input = AllocateAddress {
                tags: vec![TagSpecification {
                    resource_type: Some("elastic-ip".to_owned()),
                    tags: vec![Tag {
                        key: "a".to_owned(),
                        value: "b".to_owned(),
                    }],
                }],
                ..AllocateAddress::default()
            };
            let made = control.allocate_address(caller, &input).await;
            let made = made.expect("an address is free");
            assert_eq!(made.tags.len(), 1);
            assert!(seen.insert(made.public_ip));
        }
        let none = allocate(&control).await;
        assert_eq!(none.map_err(|e| e.status()), Err(500));
    }
}
