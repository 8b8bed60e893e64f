use super::*;
use crate::resources::find;

fn configmaps() -> &'static Resource {
    find("", "v1", "configmaps").expect("in the table")
}

fn writer(manager: &str) -> Writer<'_> {
    Writer {
        manager,
        subresource: "",
    }
}

fn owned(object: &Value) -> Vec<(String, Value)> {
    object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|m| {
            (
                m["manager"].as_str().unwrap_or("").to_owned(),
                m["fieldsV1"].clone(),
            )
        })
        .collect()
}

fn configmap(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": data})
}

#[test]
fn a_create_owns_what_it_sets() {
    let mut o = configmap(json!({"a": "1"}));
    updated(&mut o, None, configmaps(), writer("one"));
    assert_eq!(
        owned(&o),
        [("one".into(), json!({"f:data": {".": {}, "f:a": {}}}))]
    );
    let old = o.clone();
    o["data"] = json!({"a": "2", "b": "1"});
    updated(&mut o, Some(&old), configmaps(), writer("two"));
    assert_eq!(
        owned(&o),
        [
            ("one".into(), json!({"f:data": {".": {}}})),
            ("two".into(), json!({"f:data": {"f:a": {}, "f:b": {}}})),
        ]
    );
}

#[test]
fn an_apply_conflicts_takes_over_by_force_and_gives_up_what_it_no_longer_names() {
    let r = configmaps();
    let live = configmap(json!({}));
    let first = configmap(json!({"a": "1", "b": "2"}));
    let live = apply(&live, &first, r, writer("first"), false).unwrap();
    assert_eq!(
        owned(&live),
        [("first".into(), json!({"f:data": {"f:a": {}, "f:b": {}}}))]
    );

    let second = configmap(json!({"a": "9"}));
    let error = apply(&live, &second, r, writer("second"), false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"first\": .data.a"
    );
    assert_eq!(error.code, 409);

    let live = apply(&live, &second, r, writer("second"), true).unwrap();
    assert_eq!(live["data"], json!({"a": "9", "b": "2"}));
    assert_eq!(
        owned(&live),
        [
            ("first".into(), json!({"f:data": {"f:b": {}}})),
            ("second".into(), json!({"f:data": {"f:a": {}}})),
        ]
    );

    let live = apply(&live, &configmap(json!({})), r, writer("first"), false).unwrap();
    assert_eq!(live["data"], json!({"a": "9"}));
    assert_eq!(owned(&live)[0], ("first".into(), json!({"f:data": {}})));
}

#[test]
fn the_same_value_is_owned_by_both() {
    let r = configmaps();
    let live = apply(
        &configmap(json!({})),
        &configmap(json!({"a": "1"})),
        r,
        writer("x"),
        false,
    )
    .unwrap();
    let live = apply(&live, &configmap(json!({"a": "1"})), r, writer("y"), false).unwrap();
    let live = apply(&live, &configmap(json!({})), r, writer("x"), false).unwrap();
    assert_eq!(live["data"], json!({"a": "1"}));
}

#[test]
fn containers_are_applied_by_name() {
    let r = find("", "v1", "pods").expect("in the table");
    let pod = |containers: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}});
    let live = pod(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
    let out = apply(
        &live,
        &pod(json!([{"name": "b", "image": "2"}])),
        r,
        writer("m"),
        false,
    )
    .unwrap();
    assert_eq!(
        out["spec"]["containers"],
        json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}])
    );
    assert_eq!(
        owned(&out)[0].1,
        json!({"f:spec": {"f:containers": {"k:{\"name\":\"b\"}": {"f:image": {}, "f:name": {}}}}})
    );
}
