//! PersistentVolumeClaims on a real engine, which needs the lab's base image; each test removes what it made.

mod machine;
mod server;

use std::time::Duration;

use bollard::query_parameters::ListVolumesOptionsBuilder;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, DeleteParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use machine::{Machine, PATIENCE, create, shell, terminated};

/// What a shell does in a container that mounts the claim at /data.
fn mounted(text: &str, read_only: bool) -> Value {
    let claim = json!({"claimName": "data", "readOnly": read_only});
    shell(
        text,
        json!({"volumeMounts": [{"name": "v", "mountPath": "/data"}],
               "securityContext": {"runAsUser": 1234}}),
        json!({"volumes": [{"name": "v", "persistentVolumeClaim": claim}]}),
    )
}

/// The machine's volumes on the engine.
async fn volumes(machine: &Machine) -> usize {
    let label = format!(
        "katlab.sandbox={}",
        katlab_sandbox::runtime::sandbox_id(&machine.directory)
    );
    let filters = [("label", vec![label])].into();
    let query = ListVolumesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let found = machine.docker.list_volumes(Some(query)).await;
    found.expect("volumes").volumes.unwrap_or_default().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_shared_by_pods_outlives_them_and_waits_for_them_when_it_goes() {
    let mut machine = Machine::start().await;
    // The pod waits for the claim, not the claim for the pod.
    machine
        .pod("first", mounted("echo kept > /data/file", false))
        .await;
    let waits = machine
        .until("first", "unschedulable", |pod| {
            pod["status"]["conditions"][0]["reason"] == "Unschedulable"
        })
        .await;
    let message = waits["status"]["conditions"][0]["message"].as_str();
    let message = message.expect("message");
    assert!(
        message.contains("persistentvolumeclaim \"data\" not found"),
        "{message}"
    );
    let claims: Api<PersistentVolumeClaim> = machine.api();
    let claim = create(
        &claims,
        json!({"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}}),
    )
    .await;
    let claim = serde_json::to_value(claim).expect("claim");
    assert_eq!(claim["status"]["phase"], "Bound");
    assert_eq!(claim["status"]["capacity"]["storage"], "1Gi");
    machine.phase("first", "Succeeded").await;
    let gone = DeleteParams::default();
    machine
        .pods()
        .delete("first", &gone)
        .await
        .expect("deleted");
    machine.gone("first").await;
    machine.emptied().await;

    let text = "cat /data/file; echo more > /data/other || exit 7";
    machine.pod("reads", mounted(text, true)).await;
    let reads = machine.phase("reads", "Failed").await;
    assert_eq!(terminated(&reads).0, 7);
    assert!(machine.log("reads").await.contains("kept\n"));

    // It is held by a pod that runs, across a crash of ours, and not by one that has ended.
    machine.pod("holds", mounted("exec sleep 600", false)).await;
    machine.phase("holds", "Running").await;
    claims.delete("data", &gone).await.expect("deleted");
    machine.crash().await;
    machine.pod("late", mounted("true", false)).await;
    machine
        .until("late", "unschedulable", |pod| {
            let message = pod["status"]["conditions"][0]["message"].as_str();
            message.is_some_and(|message| {
                message.contains("persistentvolumeclaim \"data\" is being deleted")
            })
        })
        .await;
    let held = claims.get("data").await.expect("the claim is held");
    assert!(held.metadata.deletion_timestamp.is_some());
    machine.pods().delete("late", &gone).await.expect("deleted");
    machine
        .pods()
        .delete("holds", &gone)
        .await
        .expect("deleted");
    let gone = await_condition(claims, "data", |claim: Option<&PersistentVolumeClaim>| {
        claim.is_none()
    });
    let gone = tokio::time::timeout(PATIENCE, gone).await;
    gone.expect("in time").expect("gone");
    // The container of the pod that has ended still holds the volume.
    let delete = DeleteParams::default();
    machine
        .pods()
        .delete("reads", &delete)
        .await
        .expect("deleted");
    let removed = async {
        while volumes(&machine).await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let removed = tokio::time::timeout(PATIENCE, removed).await;
    removed.expect("the volume goes with its claim");
}
