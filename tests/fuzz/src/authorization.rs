//! What a client says about its signature.

use enid_api::sigv4::{Authorization, parse_authorization, parse_presigned};

/// What is read, written down again, is read alike.
pub fn authorization(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(claim) = parse_authorization(text) {
        let written = format!(
            "AWS4-HMAC-SHA256 Credential={},SignedHeaders={},Signature={}",
            credential(&claim),
            claim.signed_headers,
            claim.signature
        );
        assert_eq!(parse_authorization(&written).as_ref(), Ok(&claim));
        assert!(claim.presigned.is_none());
    }
    if let Some(Ok(claim)) = parse_presigned(text) {
        let presigned = claim.presigned.as_ref().expect("a presigned claim says so");
        assert!((1..=604_800).contains(&presigned.expires));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
            .append_pair("X-Amz-Credential", &credential(&claim))
            .append_pair("X-Amz-Date", &presigned.date)
            .append_pair("X-Amz-Expires", &presigned.expires.to_string())
            .append_pair("X-Amz-SignedHeaders", &claim.signed_headers)
            .append_pair("X-Amz-Signature", &claim.signature);
        if let Some(token) = &presigned.session_token {
            query.append_pair("X-Amz-Security-Token", token);
        }
        assert_eq!(parse_presigned(&query.finish()), Some(Ok(claim.clone())));
    }
}

fn credential(claim: &Authorization<'_>) -> String {
    let Authorization {
        access_key_id,
        date,
        region,
        service,
        terminator,
        ..
    } = claim;
    format!("{access_key_id}/{date}/{region}/{service}/{terminator}")
}
