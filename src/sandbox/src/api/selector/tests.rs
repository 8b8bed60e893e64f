use super::*;
use proptest::prelude::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn matches(selector: &str, pairs: &[(&str, &str)]) -> bool {
    Labels::parse(selector)
        .expect(selector)
        .matches(&labels(pairs))
}

#[test]
fn the_operators_mean_what_kubernetes_means() {
    assert!(matches("a=1,b!=2", &[("a", "1")]));
    assert!(!matches("a==1", &[("a", "2")]));
    assert!(matches("a in (1, 2),b notin (3)", &[("a", "2")]));
    assert!(!matches("b notin (3)", &[("b", "3")]));
    assert!(matches("a,!b", &[("a", "")]));
    assert!(!matches("!a", &[("a", "")]));
    assert!(matches("n>3,n<9", &[("n", "5")]));
    assert!(matches("a=", &[("a", "")]));
    assert!(matches(
        "katib.kubeflow.org/trial=t",
        &[("katib.kubeflow.org/trial", "t")]
    ));
    assert!(matches("", &[("x", "y")]));
}

#[test]
fn errors_are_kubernetes_own() {
    let message = |text: &str| Labels::parse(text).unwrap_err().message;
    assert_eq!(
        message("=="),
        "found '==', expected: !, identifier, or 'end of string'"
    );
    assert_eq!(
        message("a in ("),
        "unable to parse requirement: found '', expected: ',', ')' or identifier"
    );
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z!=(),<> /.-]{0,40}") {
        let _ = Labels::parse(&text);
    }

    #[test]
    fn a_selector_made_of_an_objects_own_labels_matches_it(
        map in proptest::collection::btree_map("[a-z]{1,5}", "[a-z0-9]{0,5}", 0..5)
    ) {
        let text = map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
        prop_assert!(Labels::parse(&text).unwrap().matches(&map));
        let text = map.iter().map(|(k, v)| format!("{k} in (zzzzzz,{v})")).collect::<Vec<_>>().join(",");
        prop_assert!(Labels::parse(&text).unwrap().matches(&map));
        let text = map.keys().map(|k| format!("!{k}")).collect::<Vec<_>>().join(",");
        prop_assert_eq!(Labels::parse(&text).unwrap().matches(&map), map.is_empty());
    }
}

#[test]
fn field_selectors_know_the_fields_of_their_kind() {
    let find = |plural| crate::resources::find("", "v1", plural).expect("in the table");
    let message = |text: &str, plural| Fields::parse(text, find(plural)).unwrap_err().message;
    assert!(Fields::parse("status.phase!=Failed,metadata.name=a", find("pods")).is_ok());
    assert_eq!(
        message("spec.foo=1", "pods"),
        "field label not supported: spec.foo"
    );
    assert_eq!(
        message("data.a=1", "configmaps"),
        "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
    assert_eq!(
        message("metadata.name", "configmaps"),
        "invalid selector: 'metadata.name'; can't understand 'metadata.name'"
    );
    assert_eq!(
        Fields::parse("metadata.name=a", find("pods"))
            .unwrap()
            .name(),
        Some("a")
    );
}
