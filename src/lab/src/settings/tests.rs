use std::os::unix::fs::PermissionsExt;

use super::*;

fn set(name: &str, value: &str) -> Change {
    Change::Set {
        name: name.to_owned(),
        value: value.to_owned().into(),
        secret: false,
        origin: "set".to_owned(),
    }
}

fn text(settings: &Settings, name: &str) -> Option<String> {
    settings
        .get(name)
        .unwrap()
        .map(|setting| setting.value.expose_secret().to_owned())
}

#[test]
fn settings_survive_and_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("home"));
    Settings::new(home.clone())
        .change(vec![set("A", "1"), set("B_KEY", "2")])
        .unwrap();
    let again = Settings::new(home);
    assert_eq!(text(&again, "A").as_deref(), Some("1"));
    assert!(again.get("B_KEY").unwrap().unwrap().secret);
    assert_eq!(
        std::fs::metadata(again.file())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
}

#[test]
fn two_kernels_do_not_undo_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (
        Settings::new(Home::at(dir.path())),
        Settings::new(Home::at(dir.path())),
    );
    one.change(vec![set("A", "1")]).unwrap();
    two.change(vec![set("B", "2")]).unwrap();
    one.change(vec![set("C", "3")]).unwrap();
    assert_eq!(
        two.all().unwrap().into_keys().collect::<Vec<_>>(),
        ["A", "B", "C"]
    );
    two.change(vec![Change::Unset {
        name: "A".to_owned(),
    }])
    .unwrap();
    assert_eq!(text(&one, "A"), None);
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let home = Home::at(dir.path());
            scope.spawn(move || {
                let settings = Settings::new(home);
                for number in 0..10 {
                    settings
                        .change(vec![set(&format!("N_{writer}_{number}"), "x")])
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(Settings::new(Home::at(dir.path())).all().unwrap().len(), 80);
}

#[test]
fn a_name_that_is_none_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(Home::at(dir.path()));
    assert!(
        settings
            .change(vec![set("A", "1"), set("1A", "1")])
            .is_err()
    );
    assert!(settings.all().unwrap().is_empty());
}

#[test]
fn a_damaged_file_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(Home::at(dir.path()));
    std::fs::write(settings.file(), "{").unwrap();
    let error = settings.change(vec![set("A", "1")]).unwrap_err();
    assert!(error.to_string().contains("settings.json"), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(std::fs::read_to_string(settings.file()).unwrap(), "{");
}

#[test]
fn values_of_this_process_hide_kept_ones_and_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::new(Home::at(dir.path()));
    settings.change(vec![set("A", "kept")]).unwrap();
    settings
        .set_here("A", "here".to_owned().into(), false, "run")
        .unwrap();
    assert_eq!(text(&settings, "A").as_deref(), Some("here"));
    assert_eq!(
        text(&Settings::new(Home::at(dir.path())), "A").as_deref(),
        Some("kept")
    );
}

#[test]
fn names_tell_secrets_from_the_rest() {
    for name in [
        "ACC_KEY",
        "SEC_KEY",
        "AUTH_DATA",
        "TOKEN",
        "db_password",
        "githubToken",
        "APIKEY",
        "MY_SECRETS",
    ] {
        assert!(is_secret_name(name), "{name}");
    }
    for name in [
        "EMAIL_ADDRESS",
        "API_SERVER",
        "CLUSTER_NAME",
        "PROJECT_NAME",
        "MONKEY",
        "AUTHOR",
        "PWD",
        "REGISTRY",
    ] {
        assert!(!is_secret_name(name), "{name}");
    }
}
