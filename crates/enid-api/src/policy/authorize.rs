//! May the key that signed a request make it?

use enid_model::state::RegionState;

use super::resource::{Asked, Target};
use super::{Decision, Facts, Permissions, elsewhere};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{Tag, TagSpecification};
use crate::wire::envelope::Dialect;
use crate::wire::params::Params;

/// Holds a request of EC2 against the policy of its key: each resource that it is about, and the
/// tags that it gives to what it makes.
pub(crate) fn ec2(
    permissions: &Permissions,
    context: &Context,
    operation: &str,
    params: Params<'_>,
    region: &RegionState,
) -> Result<(), ApiError> {
    let asked = Asked::new(operation, params.pairs(), region);
    let tags = RequestTags::read(params)?;
    let mut verdict = Verdict::new(permissions);
    let action = format!("ec2:{operation}");
    for target in asked.targets() {
        let mut facts = permissions.facts.clone();
        asked.describe(&target, context, &mut facts);
        if let Some(owner) = target.owner {
            facts.set("aws:resourceaccount", owner.to_string());
        }
        tags.describe(target.kind, &mut facts);
        verdict.ask(&action, Some(&target), &target.arn(context), &facts);
    }
    // Tags of what is made need their own permission, as if they were added afterwards.
    for (kind, _) in &tags.specified {
        let target = Target::any(kind);
        let mut facts = permissions.facts.clone();
        asked.describe(&target, context, &mut facts);
        tags.describe(Some(kind), &mut facts);
        facts.set("ec2:createaction", operation);
        verdict.ask(
            "ec2:CreateTags",
            Some(&target),
            &target.arn(context),
            &facts,
        );
    }
    match verdict.denied {
        None => Ok(()),
        Some((_, words)) => Err(ApiError::unauthorized(&words)),
    }
}

/// Holds a request of another service against the policy: on each resource that it names, else on
/// everything.
pub(crate) fn elsewhere(
    permissions: &Permissions,
    service: &str,
    operation: &str,
    asked: &elsewhere::Asked,
    dialect: Dialect,
) -> Result<(), ApiError> {
    let mut verdict = Verdict::new(permissions);
    let operation = match (service, operation) {
        // Source: the SNS Developer Guide, "Amazon SNS API permissions": one action for both.
        ("sns", "PublishBatch") => "Publish",
        _ => operation,
    };
    let action = format!("{service}:{operation}");
    let mut facts = permissions.facts.clone();
    for (key, value) in &asked.facts {
        facts.add(key, value.as_str());
    }
    for resource in &asked.resources {
        verdict.ask(&action, None, resource, &facts);
    }
    if asked.resources.is_empty() {
        verdict.ask(&action, None, "*", &facts);
    }
    match verdict.denied {
        None => Ok(()),
        Some((_, words)) if dialect.is_document() => Err(ApiError::access_denied_exception(&words)),
        Some((_, words)) => Err(ApiError::access_denied(&words)),
    }
}

/// What the policy said so far.
struct Verdict<'a> {
    permissions: &'a Permissions,
    /// Why the request is refused; an explicit deny is told rather than another.
    denied: Option<(Decision, String)>,
}

impl<'a> Verdict<'a> {
    fn new(permissions: &'a Permissions) -> Self {
        Self {
            permissions,
            denied: None,
        }
    }

    fn ask(&mut self, action: &str, target: Option<&Target>, resource: &str, facts: &Facts) {
        let decision = self.permissions.policy.decide(action, resource, facts);
        let reason = match (decision, &self.denied) {
            (Decision::Allowed, _) | (_, Some((Decision::DeniedExplicitly, _))) => return,
            (Decision::DeniedImplicitly, Some(_)) => return,
            (Decision::DeniedImplicitly, None) => {
                format!("because no identity-based policy allows the {action} action")
            }
            (Decision::DeniedExplicitly, _) => {
                "with an explicit deny in an identity-based policy".to_owned()
            }
        };
        // AWS names no resource for operations of EC2 that are about everything.
        let about_everything = target.is_some_and(|target| target.kind.is_none());
        let on = match about_everything {
            true => String::new(),
            false => format!(" on resource: {resource}"),
        };
        let user = &self.permissions.user.arn;
        let words = format!("User: {user} is not authorized to perform: {action}{on} {reason}");
        self.denied = Some((decision, words));
    }
}

/// The tags in a request.
struct RequestTags {
    /// Those for what it makes, by resource type.
    specified: Vec<(&'static str, Vec<(String, String)>)>,
    /// Those for what it names.
    direct: Vec<(String, String)>,
}

impl RequestTags {
    fn read(params: Params<'_>) -> Result<Self, ApiError> {
        fn pairs(tags: Vec<Tag>) -> Vec<(String, String)> {
            let pair = |tag: Tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
            tags.into_iter().map(pair).collect()
        }
        let specifications: Vec<TagSpecification> = params.list("TagSpecification")?;
        let specified = specifications.into_iter().filter_map(|specification| {
            // A type that no operation knows is the operation's matter to refuse.
            let kind = super::resource::kind_named(specification.resource_type.as_deref()?)?;
            Some((kind, pairs(specification.tags))).filter(|(_, tags)| !tags.is_empty())
        });
        Ok(Self {
            specified: specified.collect(),
            direct: pairs(params.list("Tag")?),
        })
    }

    /// Tells the tags that a resource is to get.
    fn describe(&self, kind: Option<&str>, facts: &mut Facts) {
        let specified = self.specified.iter();
        let specified = specified.filter(|(of, _)| Some(*of) == kind);
        let specified = specified.flat_map(|(_, tags)| tags);
        for (key, value) in specified.chain(&self.direct) {
            facts.add("aws:tagkeys", key.as_str());
            facts.add_tag("aws:requesttag/", key, value);
        }
    }
}
