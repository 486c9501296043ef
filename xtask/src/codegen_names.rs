//! Rust names for AWS names.

/// `NetworkInterfaceId` as `network_interface_id`.
pub(crate) fn snake(name: &str) -> String {
    let mut name = name.to_owned();
    // Units and plurals that the rule below would tear apart.
    for (from, to) in [
        ("MiB", "Mib"),
        ("IDs", "Ids"),
        ("GiB", "Gib"),
        ("MBps", "Mbps"),
    ] {
        name = name.replace(from, to);
    }
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let after = letters.get(at + 1);
        let starts_word = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                !before.is_ascii_uppercase() || after.is_some_and(char::is_ascii_lowercase)
            });
        if starts_word && !out.ends_with('_') {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// The field of a member.
pub(crate) fn field(member: &str) -> String {
    let name = snake(member);
    match name.as_str() {
        "return" | "type" => format!("r#{name}"),
        _ => name,
    }
}

/// The table of a nested structure.
pub(crate) fn constant(shape: &str) -> String {
    snake(shape).to_ascii_uppercase()
}

/// The table of an operation.
pub(crate) fn operation_constant(operation: &str) -> String {
    format!("{}_MEMBERS", constant(operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_words() {
        for (aws, rust) in [
            ("NetworkInterfaceId", "network_interface_id"),
            ("Ipv6CidrBlock", "ipv6_cidr_block"),
            (
                "EnableResourceNameDnsAAAARecord",
                "enable_resource_name_dns_aaaa_record",
            ),
            ("SizeInMiB", "size_in_mib"),
            ("VCpuInfo", "v_cpu_info"),
        ] {
            assert_eq!(snake(aws), rust);
        }
        assert_eq!(field("Return"), "r#return");
        assert_eq!(operation_constant("CreateVpc"), "CREATE_VPC_MEMBERS");
    }
}
