//! Launch templates: parameters of a launch, kept in versions under a name.
//!
//! A version keeps the parameters as they were sent. What they mean is decided at the launch, by the
//! reader of RunInstances; the front door lets no others in than it takes.

use std::collections::BTreeMap;

use enid_model::id::LaunchTemplateId;
use enid_model::key::Kind;
use enid_model::launch_template::{LaunchTemplate, LaunchTemplateVersion};
use enid_model::record::{NameClaim, Record};
use enid_model::state::{RegionState, Stored};

use crate::{Caller, Control, Draft, Error, TagSpecification, tag};

/// Parameters by their names on the wire.
pub type LaunchParameters = BTreeMap<String, String>;

/// How a client names a template: by id or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSelector {
    /// By its id.
    Id(LaunchTemplateId),
    /// By its name.
    Name(String),
}

/// Which version of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSelector {
    /// `$Default`.
    Default,
    /// `$Latest`.
    Latest,
    /// By its number.
    Number(u64),
}

/// A version that a client makes.
#[derive(Debug, Clone, Default)]
pub struct NewVersion {
    /// Free text.
    pub description: Option<String>,
    /// Who makes it: an ARN.
    pub created_by: String,
    /// Its parameters.
    pub parameters: LaunchParameters,
}

/// What CreateLaunchTemplate takes.
#[derive(Debug, Clone)]
pub struct CreateLaunchTemplate {
    /// Its name, unique in the region.
    pub name: String,
    /// Its first version.
    pub version: NewVersion,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

/// What CreateLaunchTemplateVersion takes.
#[derive(Debug, Clone)]
pub struct CreateLaunchTemplateVersion {
    /// The template.
    pub template: TemplateSelector,
    /// The version whose parameters the new one has where it names none.
    pub source: Option<VersionSelector>,
    /// The new version.
    pub version: NewVersion,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
}

/// Why a version was not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKept {
    /// It is the default one.
    IsDefault,
    /// There is no such version.
    NotFound,
}

/// What became of the versions that DeleteLaunchTemplateVersions names.
#[derive(Debug, Clone)]
pub struct DeletedVersions {
    /// The template.
    pub template: Stored<LaunchTemplate>,
    /// Each version's number, and why it is still there if it is.
    pub outcomes: Vec<(u64, Option<VersionKept>)>,
}

impl std::str::FromStr for VersionSelector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "$Default" => Ok(Self::Default),
            "$Latest" => Ok(Self::Latest),
            number => {
                let number = number
                    .parse()
                    .map_err(|_malformed| Error::TemplateVersionMalformed);
                number.map(Self::Number)
            }
        }
    }
}

impl Control {
    /// CreateLaunchTemplate. Its first version is its default one.
    pub async fn create_launch_template(
        &self,
        caller: &Caller,
        input: &CreateLaunchTemplate,
    ) -> Result<LaunchTemplate, Error> {
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        let tags = tag::specified(&input.tag_specifications, "launch-template")?;
        check_name(&input.name)?;
        check_description(&input.version)?;
        self.transact(caller, |draft| {
            let made = draft.made_before(CREATE, token.as_deref(), &parameters)?;
            if let Some(id) = made.and_then(|made| made.first()?.parse().ok()) {
                let known = draft.require::<LaunchTemplate>(id)?;
                return Ok(LaunchTemplate::clone(&known));
            }
            let claim = claim_name(&input.name);
            if draft.region.names.contains_key(claim.as_str()) {
                return Err(Error::TemplateNameTaken);
            }
            let template = LaunchTemplate {
                id: draft.mint(),
                name: input.name.clone(),
                create_time: draft.now,
                created_by: input.version.created_by.clone(),
                default_version: FIRST_VERSION,
                latest_version: FIRST_VERSION,
                versions: [(FIRST_VERSION, version(draft, &input.version))].into(),
                tags: tags.clone(),
            };
            let holder = template.id.to_string();
            let made = vec![holder.clone()];
            draft.remember(CREATE, token.as_deref(), &parameters, made);
            draft.claim(claim, Record::NameClaim(NameClaim { holder }));
            draft.create(template.clone());
            Ok(template)
        })
        .await
    }

    /// CreateLaunchTemplateVersion. Answers the template and the number of its new version.
    pub async fn create_launch_template_version(
        &self,
        caller: &Caller,
        input: &CreateLaunchTemplateVersion,
    ) -> Result<(LaunchTemplate, u64), Error> {
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        check_description(&input.version)?;
        self.transact(caller, |draft| {
            let template = required(draft, &input.template)?;
            let made = draft.made_before(CREATE_VERSION, token.as_deref(), &parameters)?;
            if let Some(number) = made.and_then(|made| made.first()?.parse().ok()) {
                return Ok((LaunchTemplate::clone(&template), number));
            }
            let mut new = LaunchTemplate::clone(&template);
            let mut version = version(draft, &input.version);
            if let Some(source) = input.source {
                let (_, source) = template_version(&template, source)?;
                version.parameters = merged(&source.parameters, &version.parameters);
            }
            new.latest_version += 1;
            let number = new.latest_version;
            new.versions.insert(number, version);
            let made = vec![number.to_string()];
            draft.remember(CREATE_VERSION, token.as_deref(), &parameters, made);
            draft.update(&template, new.clone());
            Ok((new, number))
        })
        .await
    }

    /// ModifyLaunchTemplate: another default version.
    pub async fn modify_launch_template(
        &self,
        caller: &Caller,
        selector: &TemplateSelector,
        default_version: Option<VersionSelector>,
        client_token: Option<&str>,
    ) -> Result<LaunchTemplate, Error> {
        let parameters = format!("{selector:?} {default_version:?}");
        self.transact(caller, |draft| {
            let template = required(draft, selector)?;
            let made = draft.made_before(MODIFY, client_token, &parameters)?;
            if made.is_some() {
                return Ok(LaunchTemplate::clone(&template));
            }
            let made = vec![template.id.to_string()];
            draft.remember(MODIFY, client_token, &parameters, made);
            let mut new = LaunchTemplate::clone(&template);
            if let Some(selector) = default_version {
                (new.default_version, _) = template_version(&template, selector)?;
            }
            if new != *template {
                draft.update(&template, new.clone());
            }
            Ok(new)
        })
        .await
    }

    /// DeleteLaunchTemplate. Answers what it was.
    pub async fn delete_launch_template(
        &self,
        caller: &Caller,
        selector: &TemplateSelector,
    ) -> Result<LaunchTemplate, Error> {
        self.transact(caller, |draft| {
            let template = required(draft, selector)?;
            let name = claim_name(&template.name);
            if let Some(claim) = draft.region.names.get(name.as_str()) {
                let revision = claim.revision;
                draft.release(Kind::NameClaim, name, revision);
            }
            draft.delete(&template);
            Ok(LaunchTemplate::clone(&template))
        })
        .await
    }

    /// DeleteLaunchTemplateVersions. The default version stays; that one did not go is no error.
    pub async fn delete_launch_template_versions(
        &self,
        caller: &Caller,
        selector: &TemplateSelector,
        numbers: &[u64],
    ) -> Result<DeletedVersions, Error> {
        if numbers.len() > VERSIONS_PER_REQUEST_MAX {
            return Err(Error::TooManyTemplateVersions);
        }
        self.transact(caller, |draft| {
            let template = required(draft, selector)?;
            let mut new = LaunchTemplate::clone(&template);
            let outcome = |number: &u64| {
                let kept = if *number == new.default_version {
                    Some(VersionKept::IsDefault)
                } else if new.versions.remove(number).is_none() {
                    Some(VersionKept::NotFound)
                } else {
                    None
                };
                (*number, kept)
            };
            let outcomes = numbers.iter().map(outcome).collect();
            if new != *template {
                draft.update(&template, new);
            }
            Ok(DeletedVersions { template, outcomes })
        })
        .await
    }
}

/// The template that a client names.
pub fn template_selected<'a>(
    region: &'a RegionState,
    selector: &TemplateSelector,
) -> Result<&'a Stored<LaunchTemplate>, Error> {
    match selector {
        TemplateSelector::Id(id) => {
            let found = region.launch_templates.get(id);
            found.ok_or_else(|| Error::not_found(*id))
        }
        TemplateSelector::Name(name) => {
            let claim = region.names.get(claim_name(name).as_str());
            let id = claim.and_then(|claim| claim.holder.parse().ok());
            let found = id.and_then(|id: LaunchTemplateId| region.launch_templates.get(&id));
            found.ok_or_else(|| Error::TemplateNameNotFound {
                name: name.as_str().into(),
            })
        }
    }
}

/// The same; it must still be the same at the commit.
fn required(
    draft: &mut Draft<'_>,
    selector: &TemplateSelector,
) -> Result<Stored<LaunchTemplate>, Error> {
    let found = template_selected(&draft.region, selector)?.clone();
    draft.depend(&found);
    Ok(found)
}

/// A version of a template, with its number.
pub fn template_version(
    template: &LaunchTemplate,
    selector: VersionSelector,
) -> Result<(u64, &LaunchTemplateVersion), Error> {
    let number = match selector {
        VersionSelector::Default => template.default_version,
        // The highest number that is left, as AWS counts the latest version.
        VersionSelector::Latest => template
            .versions
            .last_key_value()
            .map_or(template.latest_version, |(number, _)| *number),
        VersionSelector::Number(number) => number,
    };
    let found = template.versions.get(&number);
    let found = found.ok_or(Error::TemplateVersionNotFound {
        number,
        id: template.id,
    })?;
    Ok((number, found))
}

fn version(draft: &Draft<'_>, new: &NewVersion) -> LaunchTemplateVersion {
    LaunchTemplateVersion {
        description: new.description.clone(),
        create_time: draft.now,
        created_by: new.created_by.clone(),
        parameters: new.parameters.clone(),
    }
}

/// The parameters of a source where the new ones name nothing; a list or a structure is taken whole.
fn merged(source: &LaunchParameters, new: &LaunchParameters) -> LaunchParameters {
    fn head(name: &str) -> &str {
        name.split_once('.').map_or(name, |(head, _)| head)
    }
    let mut merged = source.clone();
    merged.retain(|name, _| !new.keys().any(|named| head(named) == head(name)));
    merged.extend(new.clone());
    merged
}

fn check_name(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"()./_-".contains(&byte);
    if (3..=128).contains(&name.len()) && name.bytes().all(plain) {
        Ok(())
    } else {
        Err(Error::TemplateNameMalformed)
    }
}

fn check_description(version: &NewVersion) -> Result<(), Error> {
    let length = version
        .description
        .as_deref()
        .map_or(0, |text| text.chars().count());
    if length > DESCRIPTION_CHARACTERS_MAX {
        return Err(Error::TemplateDescriptionTooLong);
    }
    Ok(())
}

fn claim_name(name: &str) -> String {
    format!("lt/{name}")
}

const CREATE: &str = "CreateLaunchTemplate";
const CREATE_VERSION: &str = "CreateLaunchTemplateVersion";
const MODIFY: &str = "ModifyLaunchTemplate";
const FIRST_VERSION: u64 = 1;
const DESCRIPTION_CHARACTERS_MAX: usize = 255;
const VERSIONS_PER_REQUEST_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};

    fn parameters(pairs: &[(&str, &str)]) -> LaunchParameters {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn create(name: &str) -> CreateLaunchTemplate {
        CreateLaunchTemplate {
            name: name.to_owned(),
            version: NewVersion {
                parameters: parameters(&[("ImageId", "ami-1"), ("SecurityGroupId.1", "sg-1")]),
                ..NewVersion::default()
            },
            client_token: None,
            tag_specifications: Vec::new(),
        }
    }

    fn next(template: &TemplateSelector, pairs: &[(&str, &str)]) -> CreateLaunchTemplateVersion {
        CreateLaunchTemplateVersion {
            template: template.clone(),
            source: Some(VersionSelector::Latest),
            version: NewVersion {
                parameters: parameters(pairs),
                ..NewVersion::default()
            },
            client_token: None,
        }
    }

    #[tokio::test]
    async fn versions_are_made_chosen_and_deleted() {
        let (control, caller) = (control(), caller());
        let made = control
            .create_launch_template(&caller, &create("web"))
            .await;
        let template = made.expect("a template");
        let by_name = TemplateSelector::Name("web".to_owned());
        let input = next(
            &by_name,
            &[("SecurityGroupId.1", "sg-2"), ("InstanceType", "t3.nano")],
        );
        let made = control
            .create_launch_template_version(&caller, &input)
            .await;
        let (after, number) = made.expect("a version");
        assert_eq!(
            (number, after.latest_version, after.default_version),
            (2, 2, 1)
        );
        let second = template_version(&after, VersionSelector::Latest);
        let wanted = parameters(&[
            ("ImageId", "ami-1"),
            ("InstanceType", "t3.nano"),
            ("SecurityGroupId.1", "sg-2"),
        ]);
        assert_eq!(
            second.map(|(number, found)| (number, &found.parameters)),
            Ok((2, &wanted))
        );

        let by_id = TemplateSelector::Id(template.id);
        let modify = |number| {
            let selector = Some(VersionSelector::Number(number));
            control.modify_launch_template(&caller, &by_id, selector, None)
        };
        let missing = Error::TemplateVersionNotFound {
            number: 9,
            id: template.id,
        };
        assert_eq!(modify(9).await, Err(missing));
        assert_eq!(modify(2).await.map(|after| after.default_version), Ok(2));
        let deleted = control
            .delete_launch_template_versions(&caller, &by_id, &[1, 2, 3])
            .await;
        assert_eq!(
            deleted.map(|deleted| deleted.outcomes),
            Ok(vec![
                (1, None),
                (2, Some(VersionKept::IsDefault)),
                (3, Some(VersionKept::NotFound)),
            ])
        );
        // A number is never given again.
        let input = next(&by_name, &[]);
        let made = control
            .create_launch_template_version(&caller, &input)
            .await;
        assert_eq!(made.map(|(_, number)| number), Ok(3));
        assert!(
            control
                .delete_launch_template(&caller, &by_name)
                .await
                .is_ok()
        );
        let gone = control.delete_launch_template(&caller, &by_id).await;
        assert_eq!(gone, Err(Error::not_found(template.id)));
        assert!(
            control
                .create_launch_template(&caller, &create("web"))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn names_keep_the_rules_and_are_taken_once() {
        let (control, caller) = (control(), caller());
        for name in ["", "ab", "a b c", "ä-template", &"n".repeat(129)] {
            let refused = control.create_launch_template(&caller, &create(name)).await;
            assert_eq!(refused, Err(Error::TemplateNameMalformed), "{name}");
        }
        let with_token = CreateLaunchTemplate {
            client_token: Some("once".to_owned()),
            ..create("web.(1)/a_b-c")
        };
        let first = control.create_launch_template(&caller, &with_token).await;
        assert!(first.is_ok());
        let again = control.create_launch_template(&caller, &with_token).await;
        assert_eq!(again, first);
        let taken = control
            .create_launch_template(&caller, &create("web.(1)/a_b-c"))
            .await;
        assert_eq!(taken, Err(Error::TemplateNameTaken));
    }

    #[test]
    fn versions_are_named_three_ways() {
        for (text, selector) in [
            ("$Default", VersionSelector::Default),
            ("$Latest", VersionSelector::Latest),
            ("7", VersionSelector::Number(7)),
        ] {
            assert_eq!(text.parse(), Ok(selector));
        }
        let wrong: Result<VersionSelector, _> = "latest".parse();
        assert_eq!(wrong, Err(Error::TemplateVersionMalformed));
    }
}
