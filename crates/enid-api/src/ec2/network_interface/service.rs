//! Interfaces that Enid makes for services of its own, such as NAT gateways: attached for life, to
//! something that is no instance, in a way that no user can change.

use enid_model::id::{AttachmentId, EniId, Parsed, ResourceId};
use enid_model::network_interface::NetworkInterface;

use super::describe::Field;
use crate::ec2::filter::Test;
use crate::generated::ec2::response::NetworkInterfaceAttachment;
use crate::wire::text::Text;

/// What the id of such an attachment starts with. The rest is that of the interface.
const PREFIX: &str = "ela-attach-";
/// To whom what it is attached to belongs.
const OWNER: &str = "amazon-aws";
const DEVICE_INDEX: i32 = 1;
const NETWORK_CARD_INDEX: i32 = 0;

fn id(eni: &NetworkInterface) -> Text {
    Text::display(format_args!("{PREFIX}{:017x}", eni.id.bits()))
}

/// The interface that a text names by such an attachment, whether it is there or not.
pub(super) fn eni_of(text: &str) -> Option<EniId> {
    let digits = text.strip_prefix(PREFIX)?;
    // The digits of any id have the same form.
    match AttachmentId::parse(&format!("{}-{digits}", AttachmentId::PREFIX)) {
        Ok(Parsed::Native(id)) => Some(EniId::from_bits(id.bits())),
        Ok(Parsed::Foreign) | Err(_) => None,
    }
}

/// The attachment as AWS describes it.
pub(super) fn attachment(eni: &NetworkInterface) -> NetworkInterfaceAttachment {
    NetworkInterfaceAttachment {
        attach_time: None,
        attachment_id: Some(id(eni)),
        delete_on_termination: Some(false),
        device_index: Some(DEVICE_INDEX),
        network_card_index: Some(NETWORK_CARD_INDEX),
        instance_id: None,
        instance_owner_id: Some(OWNER.into()),
        status: Some("attached".into()),
    }
}

/// Tells the values that the attachment has under a filter's name; false if the name is for
/// something else of the interface.
pub(super) fn test(eni: &NetworkInterface, field: Field, test: &mut Test<'_>) -> bool {
    match field {
        Field::AttachmentId => test.text(&id(eni)),
        Field::AttachmentOwner => test.text(OWNER),
        Field::AttachmentStatus => test.text("attached"),
        Field::DeleteOnTermination => test.flag(false),
        Field::DeviceIndex => test.display(DEVICE_INDEX),
        Field::NetworkCardIndex => test.display(NETWORK_CARD_INDEX),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_names_its_interface() {
        let text = "ela-attach-00123456789abcdef";
        assert_eq!(eni_of(text), Some(EniId(0x0123_4567_89ab_cdef)));
        for other in [
            "ela-attach-1",
            "eni-attach-00123456789abcdef",
            "ela-attach-",
        ] {
            assert_eq!(eni_of(other), None, "{other}");
        }
    }
}
