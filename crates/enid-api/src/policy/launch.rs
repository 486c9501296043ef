//! What a launch is about beyond what it names: its template's parameters, and the defaults that it
//! leaves open. Without them a policy that denies a subnet would not hold for a launch that ends up
//! in it.

use enid_model::id::{LaunchTemplateId, ResourceId as _};

use super::resource::{Asked, Target};

impl<'a> Asked<'a> {
    /// The parameters of the launch template that a launch names, but for those that the launch
    /// has itself.
    pub(super) fn of_template(&self) -> Vec<(&'a str, &'a str)> {
        let by_id = self.value("LaunchTemplate.LaunchTemplateId");
        let by_name = self.value("LaunchTemplate.LaunchTemplateName");
        let by_name = by_name.and_then(|name| self.template_by_name(name).id);
        let id = by_id.map(str::to_owned).or(by_name);
        let id = id.and_then(|id| id.parse::<LaunchTemplateId>().ok());
        let Some(template) = id.and_then(|id| self.region.launch_templates.get(&id)) else {
            return Vec::new();
        };
        let version = match self.value("LaunchTemplate.Version") {
            None | Some("$Default") => template.default_version,
            Some("$Latest") => template.latest_version,
            Some(number) => number.parse().unwrap_or_default(),
        };
        let Some(version) = template.record().versions.get(&version) else {
            return Vec::new();
        };
        let first = |name: &str| name.split('.').next().map(str::to_owned);
        let has = |name: &str| {
            let mut own = self.parameters.iter();
            own.any(|(own, _)| first(own) == first(name))
        };
        let pairs = version.parameters.iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
        pairs.filter(|(name, _)| !has(name)).collect()
    }

    /// A launch that names no subnet or no group is about the default ones.
    pub(super) fn complete_launch(&self, targets: &mut Vec<Target>) {
        let has = |targets: &[Target], kind: &str| {
            let mut targets = targets.iter();
            targets.any(|target| target.kind == Some(kind) && target.id.is_some())
        };
        // An interface that exists brings both with it.
        if has(targets, "network-interface") {
            return;
        }
        if !has(targets, "subnet") {
            let zone = self.value("Placement.AvailabilityZone");
            let subnet = enid_control::default_subnet(self.region, zone);
            targets.push(match subnet {
                Some(subnet) => Target::named("subnet", subnet.id),
                None => Target::any("subnet"),
            });
        }
        if !has(targets, "security-group") {
            let vpc = self.place().vpc;
            let group = vpc.and_then(|vpc| Some(self.region.vpcs.get(&vpc)?.default_group));
            targets.push(match group {
                Some(group) => Target::named("security-group", group),
                None => Target::any("security-group"),
            });
        }
    }
    pub(super) fn template_by_name(&self, name: &str) -> Target {
        let key = format!("{}/{name}", LaunchTemplateId::PREFIX);
        match self.region.names.get(key.as_str()) {
            Some(claim) => Target::named("launch-template", &claim.holder),
            None => Target::any("launch-template"),
        }
    }
}
