//! The condition keys that requests carry. A policy that asks for another one is refused: what
//! nothing provides could only be ignored.

/// Keys by their names in AWS's spelling; comparison is without case.
const KEYS: &[&str] = &[
    "aws:CurrentTime",
    "aws:EpochTime",
    "aws:MultiFactorAuthAge",
    "aws:MultiFactorAuthPresent",
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalType",
    "aws:RequestedRegion",
    "aws:ResourceAccount",
    "aws:SecureTransport",
    "aws:SourceIp",
    "aws:TagKeys",
    "aws:UserAgent",
    "aws:userid",
    "aws:username",
    "cloudwatch:namespace",
    "ec2:AvailabilityZone",
    "ec2:CreateAction",
    "ec2:InstanceType",
    "ec2:MetadataHttpEndpoint",
    "ec2:MetadataHttpPutResponseHopLimit",
    "ec2:MetadataHttpTokens",
    "ec2:Region",
    "ec2:Subnet",
    "ec2:Vpc",
    "sns:Endpoint",
    "sns:Protocol",
];

/// Keys that go on with a tag's key.
const TAG_KEYS: &[&str] = &["aws:RequestTag/", "aws:ResourceTag/", "ec2:ResourceTag/"];

/// The key's name in lower case, if requests can carry it.
pub(super) fn known(name: &str) -> Option<String> {
    let plain = KEYS.iter().any(|known| known.eq_ignore_ascii_case(name));
    let of_a_tag = TAG_KEYS.iter().any(|known| {
        let start = name.get(..known.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(known)) && name.len() > known.len()
    });
    // Not only ASCII: a tag's key may have any letters.
    (plain || of_a_tag).then(|| name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_without_case() {
        assert_eq!(known("AWS:sourceip").as_deref(), Some("aws:sourceip"));
        assert_eq!(
            known("aws:RequestTag/Team").as_deref(),
            Some("aws:requesttag/team")
        );
        for unknown in [
            "aws:SourceVpc",
            "aws:RequestTag/",
            "aws:RequestTag",
            "",
            "ec2:Tenancy",
        ] {
            assert_eq!(known(unknown), None, "{unknown}");
        }
    }
}
