//! Request throttling as EC2 does it: token buckets for each account, region and operation.
//!
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html> has the sizes and
//! rates. A request takes a token from the bucket of its operation. Some operations without filter
//! or page take it from a smaller one, and those that start or end instances take a token for each
//! from a second one as well. A bucket refills all the time, AWS's once a second.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use enid_model::key::AccountId;
use enid_model::time::Timestamp;

use crate::context::Context;
use crate::error::ApiError;
use crate::wire::params::Params;

/// How much a bucket holds, and how fast it refills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens of a full bucket.
    pub burst: u32,
    /// Tokens a second.
    pub refill: f64,
}

/// All buckets.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Rates of operations that shall differ from AWS's.
    rates: BTreeMap<String, Rate>,
    buckets: Mutex<HashMap<Name, Bucket>>,
}

/// Which bucket: there are no more of them than accounts with keys, regions and operations.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    account: AccountId,
    region: &'static str,
    operation: &'static str,
    which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Which {
    /// Of requests.
    Requests,
    /// Of the instances in requests.
    Resources,
    /// Of requests that ask for everything at once.
    Unfiltered,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Tokens, and parts of one.
    level: f64,
    filled: Timestamp,
}

const fn rate(burst: u32, refill: f64) -> Rate {
    Rate { burst, refill }
}

/// Operations that read.
const READING: Rate = rate(100, 20.0);
/// Operations that change something; those that AWS calls resource-intensive have the same rate.
const CHANGING: Rate = rate(50, 5.0);
/// Operations of [`UNFILTERED`] that name neither filter nor page.
const EVERYTHING: Rate = rate(50, 10.0);

const UNFILTERED: &[&str] = &[
    "DescribeInstanceStatus",
    "DescribeInstances",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
];

/// Operations with rates of their own.
const OWN: &[(&str, Rate)] = &[
    ("AssignIpv6Addresses", rate(100, 5.0)),
    ("AssignPrivateIpAddresses", rate(100, 5.0)),
    ("AssignPrivateNatGatewayAddress", rate(10, 1.0)),
    ("AssociateNatGatewayAddress", rate(10, 1.0)),
    ("CreateDefaultSubnet", rate(1, 1.0)),
    ("CreateDefaultVpc", rate(1, 1.0)),
    ("CreateLaunchTemplateVersion", rate(100, 5.0)),
    ("CreateNatGateway", rate(10, 1.0)),
    ("CreateNetworkInterface", rate(100, 5.0)),
    ("CreateSubnetCidrReservation", rate(5, 1.0)),
    ("CreateTags", rate(100, 10.0)),
    ("DeleteNatGateway", rate(10, 1.0)),
    ("DeleteNetworkInterface", rate(100, 5.0)),
    ("DeleteSubnetCidrReservation", rate(5, 1.0)),
    ("DeleteTags", rate(100, 10.0)),
    ("DescribeMovingAddresses", rate(1, 1.0)),
    ("DescribeSecurityGroupReferences", rate(20, 5.0)),
    ("DescribeStaleSecurityGroups", rate(20, 5.0)),
    ("DisassociateNatGatewayAddress", rate(10, 1.0)),
    ("ModifyInstanceMetadataOptions", rate(100, 5.0)),
    ("ModifyLaunchTemplate", rate(100, 5.0)),
    ("ModifyNetworkInterfaceAttribute", rate(100, 5.0)),
    ("RunInstances", rate(5, 2.0)),
    ("StartInstances", rate(5, 2.0)),
    ("TerminateInstances", rate(100, 5.0)),
    ("UnassignPrivateIpAddresses", rate(100, 5.0)),
    ("UnassignPrivateNatGatewayAddress", rate(10, 1.0)),
];

/// The second buckets: tokens are instances.
const INSTANCES: &[(&str, Rate)] = &[
    ("RunInstances", rate(1000, 2.0)),
    ("StartInstances", rate(1000, 2.0)),
    ("StopInstances", rate(1000, 20.0)),
    ("TerminateInstances", rate(1000, 20.0)),
];

impl Throttle {
    /// Buckets with AWS's rates, but for these operations.
    #[must_use]
    pub fn new(rates: BTreeMap<String, Rate>) -> Self {
        Self {
            rates,
            buckets: Mutex::default(),
        }
    }

    /// Takes what a request costs, or refuses it. A refused request costs nothing.
    pub(crate) fn take(
        &self,
        context: &Context,
        operation: &'static str,
        params: Params<'_>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let which = match is_unfiltered(operation, params) {
            true => Which::Unfiltered,
            false => Which::Requests,
        };
        let instances = find(INSTANCES, operation);
        let resources = instances.map(|rate| (Which::Resources, rate, count(operation, params)));
        let requests = Some((which, self.rate(operation, which), 1.0));
        let costs = [requests, resources];
        // A panic elsewhere leaves the map whole: levels are set at once.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::with_capacity(costs.len());
        for (which, rate, cost) in costs.into_iter().flatten() {
            let name = Name {
                account: context.account,
                region: context.region.name,
                operation,
                which,
            };
            let level = buckets
                .get(&name)
                .map_or_else(|| f64::from(rate.burst), |bucket| bucket.at(rate, now));
            // More than the bucket ever holds is let through when it is full, or it never would be.
            if level < cost.min(f64::from(rate.burst)) {
                return Err(ApiError::request_limit_exceeded());
            }
            taken.push((name, level - cost));
        }
        for (name, level) in taken {
            buckets.insert(name, Bucket { level, filled: now });
        }
        Ok(())
    }

    fn rate(&self, operation: &str, which: Which) -> Rate {
        if let Some(rate) = self.rates.get(operation) {
            return *rate;
        }
        let reads = ["Describe", "Get", "List", "Search"];
        find(OWN, operation).unwrap_or_else(|| match which {
            Which::Unfiltered => EVERYTHING,
            _ if reads.iter().any(|start| operation.starts_with(start)) => READING,
            _ => CHANGING,
        })
    }
}

impl Bucket {
    /// The tokens in it by now.
    fn at(self, rate: Rate, now: Timestamp) -> f64 {
        // A clock that was set back refills nothing.
        let passed = u32::try_from(now.0.saturating_sub(self.filled.0).max(0)).unwrap_or(u32::MAX);
        let level = self.level + rate.refill * f64::from(passed) / 1000.0;
        level.min(f64::from(rate.burst))
    }
}

fn find(rates: &[(&str, Rate)], operation: &str) -> Option<Rate> {
    let found = rates.iter().find(|(name, _)| *name == operation);
    found.map(|(_, rate)| *rate)
}

/// Whether the operation is asked for everything that there is, with neither filter nor page.
fn is_unfiltered(operation: &str, params: Params<'_>) -> bool {
    let narrows = |name: &str| name == "MaxResults" || name.starts_with("Filter.");
    UNFILTERED.contains(&operation) && !params.pairs().any(|(name, _)| narrows(name))
}

/// How many instances a request starts or ends.
fn count(operation: &str, params: Params<'_>) -> f64 {
    if operation == "RunInstances" {
        let most = params.pairs().find(|(name, _)| *name == "MaxCount");
        let most = most.and_then(|(_, count)| count.parse::<u32>().ok());
        return f64::from(most.unwrap_or(1));
    }
    let named = params
        .pairs()
        .filter(|(name, _)| name.starts_with("InstanceId."));
    f64::from(u32::try_from(named.count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use enid_model::region::Region;

    use super::*;
    use crate::context::RequestIds;
    use crate::wire::form::parse_form;

    fn context(account: u64, region: &str) -> Context {
        Context {
            account: AccountId(account),
            region: Region::named(region).unwrap(),
            access_key_id: String::new(),
            permissions: None,
            request_id: RequestIds::new(1).next(),
            dry_run: false,
            asked: None,
        }
    }

    /// How many requests pass at one time before one is refused.
    fn pass(throttle: &Throttle, operation: &'static str, form: &str, now: i64) -> usize {
        pass_of(throttle, &context(1, "eu-west-1"), operation, form, now)
    }

    fn pass_of(
        throttle: &Throttle,
        context: &Context,
        operation: &'static str,
        form: &str,
        now: i64,
    ) -> usize {
        let form = parse_form(form.as_bytes()).unwrap();
        let take = || throttle.take(context, operation, form.params(), Timestamp(now));
        (0..2000).take_while(|_| take().is_ok()).count()
    }

    #[test]
    fn buckets_have_awss_sizes_and_rates() {
        let throttle = Throttle::default();
        for (operation, form, burst, after_a_second) in [
            ("DescribeVpcs", "", 100, 20),
            ("DescribeNetworkInterfaces", "", 50, 10),
            ("DescribeNetworkInterfaces", "MaxResults=5", 100, 20),
            ("DescribeInstances", "Filter.1.Name=a", 100, 20),
            ("GetConsoleOutput", "", 100, 20),
            ("CreateVpc", "", 50, 5),
            ("AuthorizeSecurityGroupIngress", "", 50, 5),
            ("CreateNetworkInterface", "", 100, 5),
            ("CreateTags", "", 100, 10),
            ("RunInstances", "MaxCount=1", 5, 2),
        ] {
            assert_eq!(
                pass(&throttle, operation, form, 0),
                burst,
                "{operation} {form}"
            );
            assert_eq!(pass(&throttle, operation, form, 0), 0, "{operation} {form}");
            let later = pass(&throttle, operation, form, 1000);
            assert_eq!(later, after_a_second, "{operation} {form}");
        }
    }

    #[test]
    fn a_refill_is_no_more_than_a_full_bucket() {
        let throttle = Throttle::default();
        assert_eq!(pass(&throttle, "DescribeVpcs", "", 0), 100);
        assert_eq!(pass(&throttle, "DescribeVpcs", "", 1_000_000), 100);
        assert_eq!(
            pass(&throttle, "DescribeVpcs", "", 0),
            0,
            "a clock set back"
        );
    }

    #[test]
    fn accounts_and_regions_have_buckets_of_their_own() {
        let throttle = Throttle::default();
        assert_eq!(pass(&throttle, "CreateVpc", "", 0), 50);
        for other in [context(2, "eu-west-1"), context(1, "us-east-1")] {
            assert_eq!(pass_of(&throttle, &other, "CreateVpc", "", 0), 50);
        }
    }

    #[test]
    fn instances_are_counted_beside_requests() {
        let throttle = Throttle::default();
        assert_eq!(pass(&throttle, "RunInstances", "MaxCount=400", 0), 2);
        // What was refused for want of instances took no request.
        assert_eq!(pass(&throttle, "RunInstances", "MaxCount=1", 0), 3);
        let ids: Vec<String> = (1..=300).map(|n| format!("InstanceId.{n}=i-{n}")).collect();
        assert_eq!(pass(&throttle, "TerminateInstances", &ids.join("&"), 0), 3);
    }

    #[test]
    fn rates_can_be_chosen() {
        let slow = BTreeMap::from([("DescribeVpcs".to_owned(), rate(1, 0.1))]);
        let throttle = Throttle::new(slow);
        assert_eq!(pass(&throttle, "DescribeVpcs", "", 0), 1);
        assert_eq!(pass(&throttle, "DescribeVpcs", "", 9_999), 0);
        assert_eq!(pass(&throttle, "DescribeVpcs", "", 10_000), 1);
        assert_eq!(pass(&throttle, "DescribeSubnets", "", 0), 100);
    }
}
