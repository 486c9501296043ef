//! ARNs of load balancers and of what belongs to them.

use std::fmt;

use crate::id::{ListenerId, LoadBalancerId, TargetGroupId};
use crate::key::{RegionName, Scope};
use crate::region::Region;

/// The ARN of a resource of Elastic Load Balancing, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancerArn {
    /// Where the resource is, and whose.
    pub scope: Scope,
    /// Which one it is.
    pub resource: BalancerResource,
}

/// What such an ARN names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BalancerResource {
    /// A listener.
    Listener {
        /// The name of its load balancer.
        name: String,
        /// The load balancer.
        load_balancer: LoadBalancerId,
        /// The listener.
        id: ListenerId,
    },
    /// The one rule of a listener: its default one.
    ListenerRule {
        /// The name of its load balancer.
        name: String,
        /// The load balancer.
        load_balancer: LoadBalancerId,
        /// The listener, and the rule, which has the same digits.
        id: ListenerId,
    },
    /// A load balancer.
    LoadBalancer {
        /// Its name.
        name: String,
        /// Its id.
        id: LoadBalancerId,
    },
    /// A target group.
    TargetGroup {
        /// Its name.
        name: String,
        /// Its id.
        id: TargetGroupId,
    },
}

impl BalancerArn {
    /// The resource that an ARN names. `None` if it is the ARN of something else, or of nothing.
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let mut next = || parts.next();
        let (scheme, partition, service) = (next()?, next()?, next()?);
        let (region, account) = (Region::named(next()?)?, next()?.parse().ok()?);
        let of_service = service == "elasticloadbalancing" && partition == region.partition();
        if scheme != "arn" || !of_service {
            return None;
        }
        let scope = Scope {
            account,
            region: RegionName::new(region.name),
        };
        let resource = resource(next()?)?;
        Some(Self { scope, resource })
    }
}

fn resource(path: &str) -> Option<BalancerResource> {
    let parts: Vec<&str> = path.split('/').collect();
    let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    Some(match *parts {
        ["loadbalancer", "net", own, id] => BalancerResource::LoadBalancer {
            name: name(own)?,
            id: id.parse().ok()?,
        },
        ["listener", "net", own, balancer, id] => BalancerResource::Listener {
            name: name(own)?,
            load_balancer: balancer.parse().ok()?,
            id: id.parse().ok()?,
        },
        ["listener-rule", "net", own, balancer, listener, rule] if listener == rule => {
            BalancerResource::ListenerRule {
                name: name(own)?,
                load_balancer: balancer.parse().ok()?,
                id: listener.parse().ok()?,
            }
        }
        ["targetgroup", own, id] => BalancerResource::TargetGroup {
            name: name(own)?,
            id: id.parse().ok()?,
        },
        _ => return None,
    })
}

impl fmt::Display for BalancerArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope { account, region } = &self.scope;
        let partition = Region::named(region.as_str()).map_or("aws", Region::partition);
        write!(
            f,
            "arn:{partition}:elasticloadbalancing:{region}:{account}:{}",
            self.resource
        )
    }
}

impl fmt::Display for BalancerResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener {
                name,
                load_balancer,
                id,
            } => write!(f, "listener/net/{name}/{load_balancer}/{id}"),
            Self::ListenerRule {
                name,
                load_balancer,
                id,
            } => write!(f, "listener-rule/net/{name}/{load_balancer}/{id}/{id}"),
            Self::LoadBalancer { name, id } => write!(f, "loadbalancer/net/{name}/{id}"),
            Self::TargetGroup { name, id } => write!(f, "targetgroup/{name}/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_read_as_they_are_written() {
        for text in [
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/a-b/0123456789abcdef",
            "arn:aws-cn:elasticloadbalancing:cn-north-1:123456789012:targetgroup/t/0123456789abcdef",
            "arn:aws-us-gov:elasticloadbalancing:us-gov-west-1:123456789012:listener/net/a/0123456789abcdef/00000000000000ff",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener-rule/net/a/0123456789abcdef/00000000000000ff/00000000000000ff",
        ] {
            let arn = BalancerArn::parse(text);
            assert_eq!(arn.map(|arn| arn.to_string()).as_deref(), Some(text));
        }
        for text in [
            "",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/a/0123456789abcdef",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/a/0123456789abcde",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net//0123456789abcdef",
            "arn:aws-cn:elasticloadbalancing:eu-west-1:123456789012:targetgroup/t/0123456789abcdef",
            "arn:aws:ec2:eu-west-1:123456789012:targetgroup/t/0123456789abcdef",
            "arn:aws:elasticloadbalancing:eu-west-9:123456789012:targetgroup/t/0123456789abcdef",
            "arn:aws:elasticloadbalancing:eu-west-1:12:targetgroup/t/0123456789abcdef",
        ] {
            assert_eq!(BalancerArn::parse(text), None, "{text}");
        }
    }
}
