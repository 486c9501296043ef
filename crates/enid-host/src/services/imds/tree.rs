//! What the metadata service has to tell of an instance, as a tree of paths.

use std::collections::BTreeMap;
use std::fmt::Display;

use enid_model::instance::Instance;
use enid_model::instance_metadata::{MetadataOptions, is_tellable_tag_key};
use enid_model::instance_type::architecture;
use enid_model::network_interface::NetworkInterface;
use enid_model::private_dns_name::{host_label, ip_label};
use enid_model::time::Timestamp;

use super::super::asker::Asker;

/// The versions of the service that can be asked for by name. A category is there from the version
/// on in which AWS brought it.
pub(super) const VERSIONS: [&str; 29] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-07-09",
    "2022-09-24",
    "2024-04-11",
];

/// Everything that there is below a version, by path without leading slash.
pub(super) struct Tree {
    values: BTreeMap<String, Vec<u8>>,
    /// The version that is asked for; `None` is the latest.
    version: Option<&'static str>,
    /// The name of the public key.
    key_name: Option<String>,
}

/// What there is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// The names below it; one that has names below it in turn ends in a slash.
    Listing(Vec<String>),
    Value(&'a [u8]),
}

impl Tree {
    /// What there is to tell of the instance that asks.
    pub(super) fn of(
        asker: &Asker<'_>,
        options: MetadataOptions,
        version: Option<&str>,
    ) -> Option<Self> {
        let asker = &asker.at_home()?;
        let instance = asker.instance()?;
        let mut tree = Self {
            values: BTreeMap::new(),
            version: VERSIONS.into_iter().find(|known| Some(*known) == version),
            key_name: instance.recorded.key_name.clone(),
        };
        let primary = asker.resources.primary_eni(instance.id)?;
        tree.add_instance(asker, instance, primary);
        tree.add_network(asker, primary);
        for eni in asker.resources.enis_of_instance(instance.id) {
            tree.add_eni(asker, eni);
        }
        for lent in asker.lent_to(instance.id) {
            tree.add_eni(&lent, lent.eni);
        }
        if options.tags_enabled {
            for (key, value) in &instance.tags {
                if is_tellable_tag_key(key) {
                    let path = format!("meta-data/tags/instance/{key}");
                    tree.add(&path, "2021-03-23", value);
                }
            }
        }
        tree.add_dynamic(asker, instance, primary);
        if let Some(data) = &instance.user_data {
            tree.values.insert("user-data".to_owned(), data.clone());
        }
        Some(tree)
    }

    /// What there is at a path. Whether it ends in a slash makes no difference.
    pub(super) fn find(&self, segments: &[&str]) -> Option<Found<'_>> {
        let path = segments.join("/");
        if let Some(value) = self.values.get(&path) {
            return Some(Found::Value(value));
        }
        let below = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let paths = self.values.range(below.clone()..).map(|(path, _)| path);
        let paths = paths.map_while(|path| path.strip_prefix(&below));
        let mut names: Vec<String> = Vec::new();
        for rest in paths {
            let name = match rest.split_once('/') {
                // The first level is listed without slashes.
                Some((name, _)) if segments.is_empty() => name.to_owned(),
                Some((number, _)) if path == KEYS => {
                    let name = self.key_name.as_deref().unwrap_or_default();
                    format!("{number}={name}")
                }
                Some((name, _)) => format!("{name}/"),
                None => rest.to_owned(),
            };
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        (!names.is_empty()).then_some(Found::Listing(names))
    }

    fn add(&mut self, path: &str, since: &str, value: impl Display) {
        if self.version.is_none_or(|version| version >= since) {
            let value = value.to_string().into_bytes();
            self.values.insert(path.to_owned(), value);
        }
    }

    /// A list that is there only if it is not empty.
    fn add_lines<T: Display>(
        &mut self,
        path: &str,
        since: &str,
        lines: impl IntoIterator<Item = T>,
    ) {
        let lines: Vec<String> = lines.into_iter().map(|line| line.to_string()).collect();
        if !lines.is_empty() {
            self.add(path, since, lines.join("\n"));
        }
    }

    fn add_instance(&mut self, asker: &Asker<'_>, instance: &Instance, primary: &NetworkInterface) {
        let region = asker.region;
        let mut add = |name: &str, since: &str, value: &dyn Display| {
            self.add(&format!("meta-data/{name}"), since, value);
        };
        add("ami-id", FIRST, &instance.image);
        add("ami-launch-index", FIRST, &instance.launch_index);
        add("ami-manifest-path", FIRST, &"(unknown)");
        add("block-device-mapping/ami", "2007-12-15", &ROOT_DEVICE);
        add("block-device-mapping/root", "2007-12-15", &ROOT_DEVICE);
        add("events/maintenance/history", "2018-08-17", &"[]");
        add("events/maintenance/scheduled", "2018-08-17", &"[]");
        add("instance-action", "2008-09-01", &"none");
        add("instance-id", FIRST, &instance.id);
        add("instance-life-cycle", "2019-10-01", &"on-demand");
        add("instance-type", "2007-08-29", &instance.instance_type);
        let zone = "placement/availability-zone";
        add(zone, "2008-02-01", &instance.zone);
        if let Some(subnet) = asker.resources.subnets.get(&primary.subnet) {
            let zone = "placement/availability-zone-id";
            add(zone, "2019-10-01", &subnet.zone_id);
        }
        add("placement/region", "2019-10-01", &region.name);
        add("profile", FIRST, &"default-hvm");
        if let Some(key) = &instance.recorded.public_key {
            let path = format!("{KEYS}/0/openssh-key");
            let path = path.strip_prefix("meta-data/").unwrap_or_default();
            add(path, FIRST, key);
        }
        add("reservation-id", FIRST, &instance.reservation);
        add("services/domain", "2014-02-25", &region.dns_suffix());
        add("services/partition", "2015-10-20", &region.partition());
        add("system", "2022-09-24", &"nitro");
    }

    /// What is told of the primary interface at the first level.
    fn add_network(&mut self, asker: &Asker<'_>, primary: &NetworkInterface) {
        let address = primary.primary_address();
        let name = local_name(asker, primary);
        self.add("meta-data/hostname", FIRST, &name);
        self.add("meta-data/local-hostname", "2007-01-19", &name);
        self.add("meta-data/local-ipv4", FIRST, address);
        self.add("meta-data/mac", "2011-01-01", primary.mac);
        if let Some(first) = primary.ipv6_addresses.first() {
            self.add("meta-data/ipv6", "2021-01-03", first);
        }
        if let Some((public, _)) = asker.resources.public_address_of(primary, address) {
            self.add("meta-data/public-ipv4", "2007-01-19", public);
            let name = asker
                .resources
                .public_name_at(asker.region, primary, public);
            if let Some(name) = name {
                self.add("meta-data/public-hostname", "2007-01-19", name);
            }
        }
        let groups = group_names(asker, primary);
        self.add_lines("meta-data/security-groups", FIRST, groups);
    }

    fn add_eni(&mut self, asker: &Asker<'_>, eni: &NetworkInterface) {
        let below = format!("meta-data/network/interfaces/macs/{}", eni.mac);
        let path = |name: &str| format!("{below}/{name}");
        let attachment = eni.attachment.as_ref();
        let place = attachment.map(|attachment| {
            let card = attachment.network_card_index;
            (card, attachment.device_index)
        });
        if let Some((card, index)) = place {
            self.add(&path("device-number"), NETWORK, index);
            self.add(&path("network-card"), "2020-10-27", card);
        }
        self.add(&path("interface-id"), NETWORK, eni.id);
        self.add(&path("local-hostname"), NETWORK, local_name(asker, eni));
        self.add_lines(&path("local-ipv4s"), NETWORK, &eni.addresses);
        self.add_lines(&path("ipv4-prefix"), "2021-03-23", &eni.ipv4_prefixes);
        self.add_lines(&path("ipv6-prefix"), "2021-03-23", &eni.ipv6_prefixes);
        self.add_lines(&path("ipv6s"), "2016-06-30", &eni.ipv6_addresses);
        self.add(&path("mac"), NETWORK, eni.mac);
        self.add(&path("owner-id"), NETWORK, asker.scope.account);
        self.add_public(asker, eni, &below);
        let groups = group_names(asker, eni);
        self.add_lines(&path("security-groups"), NETWORK, groups);
        self.add_lines(&path("security-group-ids"), NETWORK, &eni.groups);
        self.add(&path("subnet-id"), NETWORK, eni.subnet);
        if let Some(subnet) = asker.resources.subnets.get(&eni.subnet) {
            self.add(&path("subnet-ipv4-cidr-block"), NETWORK, subnet.cidr);
            let blocks = subnet.ipv6_cidr.iter().map(|block| block.cidr);
            self.add_lines(&path("subnet-ipv6-cidr-blocks"), "2016-06-30", blocks);
        }
        self.add(&path("vpc-id"), NETWORK, eni.vpc);
        if let Some(vpc) = asker.resources.vpcs.get(&eni.vpc) {
            self.add(&path("vpc-ipv4-cidr-block"), NETWORK, vpc.cidr);
            let blocks = vpc.ipv4_cidrs();
            self.add_lines(&path("vpc-ipv4-cidr-blocks"), "2016-06-30", blocks);
            let blocks = vpc.ipv6_cidrs.iter().map(|block| block.cidr);
            self.add_lines(&path("vpc-ipv6-cidr-blocks"), "2016-06-30", blocks);
        }
    }

    /// The public addresses of an interface.
    fn add_public(&mut self, asker: &Asker<'_>, eni: &NetworkInterface, below: &str) {
        let resources = asker.resources;
        let pairs = eni.addresses.iter().filter_map(|private| {
            let (public, _) = resources.public_address_of(eni, *private)?;
            Some((*private, public))
        });
        let pairs: Vec<_> = pairs.collect();
        for (private, public) in &pairs {
            let path = format!("{below}/ipv4-associations/{public}");
            self.add(&path, NETWORK, private);
        }
        let publics = pairs.iter().map(|(_, public)| public);
        self.add_lines(&format!("{below}/public-ipv4s"), NETWORK, publics);
        let first = pairs
            .iter()
            .find(|(private, _)| *private == eni.primary_address());
        let name =
            first.and_then(|(_, public)| resources.public_name_at(asker.region, eni, *public));
        if let Some(name) = name {
            self.add(&format!("{below}/public-hostname"), NETWORK, name);
        }
    }

    fn add_dynamic(&mut self, asker: &Asker<'_>, instance: &Instance, primary: &NetworkInterface) {
        let monitoring = if instance.recorded.monitoring {
            "enabled"
        } else {
            "disabled"
        };
        let path = "dynamic/fws/instance-monitoring";
        self.add(path, "2009-04-04", monitoring);
        // Limit: the document is not signed. Who verifies signatures holds AWS's certificate, which
        // nothing that is made here could meet.
        let document = identity(asker, instance, primary);
        let path = "dynamic/instance-identity/document";
        self.add(path, "2009-04-04", document);
    }
}

fn group_names<'a>(
    asker: &'a Asker<'_>,
    eni: &'a NetworkInterface,
) -> impl Iterator<Item = &'a str> {
    let groups = eni.groups.iter();
    let groups = groups.filter_map(|id| asker.resources.security_groups.get(id));
    groups.map(|group| group.name.as_str())
}

/// The private name of an interface with the domain that instances of its VPC are told: its option
/// set's first, else the region's.
fn local_name(asker: &Asker<'_>, eni: &NetworkInterface) -> String {
    let address = eni.primary_address();
    let primary = asker.instance().filter(|instance| {
        let primary = asker.resources.primary_eni(instance.id);
        primary.is_some_and(|primary| primary.id == eni.id)
    });
    let label = match primary {
        Some(instance) => host_label(instance, address),
        None => ip_label(address),
    };
    let vpc = asker.resources.vpcs.get(&eni.vpc);
    let options = vpc.and_then(|vpc| asker.resources.dhcp_options.get(&vpc.dhcp_options?));
    let domain = options.and_then(|options| options.domain_name.as_deref()?.split(' ').next());
    match domain {
        Some(domain) => format!("{label}.{domain}"),
        None => format!("{label}.{}", asker.region.private_domain()),
    }
}

/// The instance identity document, laid out as AWS lays it out.
fn identity(asker: &Asker<'_>, instance: &Instance, primary: &NetworkInterface) -> String {
    let text = |value: &dyn Display| {
        let value = value.to_string();
        serde_json::Value::String(value).to_string()
    };
    let none = || "null".to_owned();
    let members = [
        ("accountId", text(&asker.scope.account)),
        ("architecture", text(&architecture(&instance.instance_type))),
        ("availabilityZone", text(&instance.zone)),
        ("billingProducts", none()),
        ("devpayProductCodes", none()),
        ("marketplaceProductCodes", none()),
        ("imageId", text(&instance.image)),
        ("instanceId", text(&instance.id)),
        ("instanceType", text(&instance.instance_type)),
        ("kernelId", none()),
        ("pendingTime", text(&rfc3339(instance.launch_time))),
        ("privateIp", text(&primary.primary_address())),
        ("ramdiskId", none()),
        ("region", text(&asker.region.name)),
        ("version", text(&"2017-09-30")),
    ];
    let lines = members.map(|(name, value)| format!("  \"{name}\" : {value}"));
    format!("{{\n{}\n}}", lines.join(",\n"))
}

fn rfc3339(time: Timestamp) -> String {
    let (year, month, day, hour, minute, second) = time.civil();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The first version of the service.
const FIRST: &str = "1.0";
/// The version that brought interfaces.
const NETWORK: &str = "2011-01-01";
const KEYS: &str = "meta-data/public-keys";
/// What DescribeInstances reports as the root device's name.
const ROOT_DEVICE: &str = "/dev/xvda";
