"""A registry of Debian's, with a password of characters that base64 treats unkindly."""

import json

import pytest

from conftest import Registry


@pytest.fixture(scope="module")
def image(lab):
    (lab.directory / "tiny").mkdir()
    (lab.directory / "tiny/Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    lab.run(":build tiny -t katlab-test/tiny:1")
    return "katlab-test/tiny:1"


def login(registry):
    return (f":registry login {registry.host} --username {registry.user} --password-from REGISTRY_SECRET",
            ("--set", f"REGISTRY_SECRET={registry.password}"))


def test_login_push_tags_and_logout(lab, registry, image):
    line, options = login(registry)
    target = f"{registry.host}/project/deep/tiny:1"
    shown = lab.run(line, f":tag {image} {target}", f":push {target}",
                    f":registry tags {registry.host}/project/deep/tiny",
                    f":registry repos {registry.host}", f":registry inspect {target}",
                    f":registry check {registry.host}/project/deep/tiny", f":pull {target}",
                    f":rmi {target} --yes", options=options)
    assert registry.user in shown[0]
    assert "sha256:" in shown[2]
    assert "sha256:" in shown[3] and "1" in shown[3]
    assert "project/deep/tiny" in shown[4]
    assert registry.password not in json.dumps(shown)
    stored = lab.docker_config / "config.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    lab.run(f":registry logout {registry.host}")
    assert registry.host not in stored.read_text()


def test_a_wrong_password_is_refused_and_not_stored(lab, registry):
    text = lab.fails(f":registry login {registry.host} --username {registry.user} --password-from REGISTRY_SECRET",
                     options=("--set", "REGISTRY_SECRET=wrong-password"))
    assert registry.host in text and "wrong-password" not in text
    stored = lab.docker_config / "config.json"
    assert not stored.exists() or registry.host not in stored.read_text()


def test_a_push_without_login_says_how_to_log_in(lab, registry, image):
    target = f"{registry.host}/project/tiny:1"
    lab.run(f":tag {image} {target}")
    text = lab.fails(f":push {target}")
    assert "login" in text


def test_a_registry_that_is_down_is_named(lab, tmp_path):
    registry = Registry(tmp_path)
    registry.stop()
    text = lab.fails(f":registry tags {registry.host}/project/tiny")
    assert registry.host in text


def test_an_untrusted_certificate_is_explained(lab, tmp_path):
    registry = Registry(tmp_path, tls=True)
    try:
        line, options = login(registry)
        text = lab.fails(line, options=options)
        assert "certificate" in text
        shown, = lab.run(f"{line} --ca {tmp_path / 'cert.pem'}", options=options)
        assert registry.user in shown
    finally:
        registry.stop()


def test_headless_login_without_a_password_fails_at_once_and_names_the_way(lab, registry):
    text = lab.fails(f":registry login {registry.host} --username {registry.user}")
    assert "--password-from" in text
