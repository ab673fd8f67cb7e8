//! Both implementations beside each other.

use proptest::prelude::*;

use super::of_consulrs::OfConsulrs;
use super::own::Own;
use super::*;

/// Returns every request, in the order of the trait.
fn all<R: Requests>(scope: Scope<'_>, text: &str, other: &str, value: &[u8], index: u64) -> Vec<Ask> {
    [
        R::list_services(scope),
        R::read_key(scope, text),
        R::swap_key(scope, text, value, index),
        R::deregister(scope.namespace, text),
        R::update_check(scope.namespace, text, other, text),
    ]
    .into_iter()
    .map(|ask| ask.expect("any text can be encoded"))
    .collect()
}

fn compare(scope: Scope<'_>, text: &str, other: &str, value: &[u8], index: u64) {
    let of_consulrs = all::<OfConsulrs>(scope, text, other, value, index);
    assert_eq!(of_consulrs, all::<Own>(scope, text, other, value, index));
}

#[test]
fn consulrs_and_this_crate_make_the_same_requests() {
    let texts = [
        "a",
        "failover/config/default",
        "service:a",
        "",
        "a b",
        "a%2F..",
        "../x?y#z",
        "\u{fc}\u{202f}",
        "{}\"\\\n\0",
        "a&b=c+d",
    ];
    for text in texts {
        for datacenter in [None, Some("dc1"), Some(text)] {
            for namespace in [None, Some("team"), Some(text)] {
                for (value, index) in [(&b""[..], 0), (b"{}", 7), (&[0, 255, 13, 10], u64::MAX)] {
                    compare(Scope { datacenter, namespace }, text, "passing", value, index);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn consulrs_and_this_crate_make_the_same_requests_of_any_text(
        datacenter: Option<String>, namespace: Option<String>, text: String, other: String, value: Vec<u8>, index: u64,
    ) {
        let scope = Scope { datacenter: datacenter.as_deref(), namespace: namespace.as_deref() };
        compare(scope, &text, &other, &value, index);
    }
}
