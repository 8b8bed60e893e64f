"""What Rust cells do with the lab: build, create, wait, watch and read logs, on the real engine and the sandbox."""

import json
import re
import subprocess

import duckdb
import pytest

from cells import Lab
from conftest import wait_until
from jupyter import Kernel
from test_cluster import GOOD, experiment

BASE = "katlab/base:1"
IMAGE = "katlab-test/rust-cells:1"
FOREVER = ["sh", "-c", "{ echo begun ${trialParameters.lr}; sleep 600; echo accuracy=1; }"]


@pytest.fixture(scope="module")
def here(katlab_bin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    (folder / "image").mkdir()
    (folder / "image" / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo a step that prints\n")
    (folder / "image" / "Fails").write_text(f"FROM {BASE}\nRUN echo the reason; exit 3\n")
    (folder / "image" / "Sleeps").write_text(f"FROM {BASE}\nRUN echo asleep; sleep 600\n")
    write(folder, "good", GOOD)
    write(folder, "endless", FOREVER, maxTrialCount=1, parallelTrialCount=1, maxFailedTrialCount=1)
    write(folder, "exits", ["sh", "-c", "echo the reason; exit 1 # ${trialParameters.lr}"])
    lab = Lab(folder / "home", folder)
    with Kernel(lab.home, cwd=folder, environment={"DOCKER_CONFIG": str(lab.docker_config)}) as kernel:
        kernel.run("let kept: i32 = 7;")
        yield kernel
    lab.command("sandbox", "reset", "--yes", check=False)
    subprocess.run(["docker", "rmi", "-f", IMAGE], capture_output=True)


def write(folder, name, command, **spec):
    (folder / f"{name}.json").write_text(json.dumps(experiment(name, BASE, command, **spec)))


def interrupted(kernel, code, when):
    """Runs a cell and interrupts it once it shows this. Its program must not have been ended."""
    sent = []

    def interrupt(message):
        if not sent and when in json.dumps(message["content"]):
            sent.append(True)
            kernel.interrupt()

    outcome = kernel.collect(kernel.send(code), code, on_message=interrupt)
    assert sent, outcome
    assert outcome.reply["ename"] == "KeyboardInterrupt", outcome
    assert "variables are kept" in outcome.shown, outcome
    assert kernel.run("kept").result == "7"
    return outcome


def test_an_image_is_built_where_the_cell_has_come_to_and_listed(here):
    outcome = here.run(
        'println!("before");\n'
        f'let image: katlab::Built = katlab::build("image").tag("{IMAGE}").no_cache().run()?;\n'
        'println!("{image} in {} tags", image.tags.len());'
    )
    before, built, after = (outcome.shown.index(part) for part in ("before", "is built", f"{IMAGE} in 1 tags"))
    assert before < built < after, outcome
    assert "a step that prints" in outcome.shown and "RUN echo" in outcome.shown
    updates = [content["data"]["text/plain"] for content in outcome.of("update_display_data")]
    assert any("building" in text for text in updates), updates
    [row] = here.run(f'katlab::images()?.filter(|image| image.name == "{IMAGE}")').of("execute_result")
    assert re.search(rf"{IMAGE.split(':')[0]} +1 +[0-9a-f]{{12}} ", row["data"]["text/plain"]), row
    assert "<table" in row["data"]["text/html"]
    assert here.run('katlab::images()?.iter().any(|listed| listed.id == image.id)').result == "true"


@pytest.mark.parametrize("code, told", [
    ('katlab::build("image").dockerfile("image/Fails").run()?', ["exit 3", "the reason"]),
    ('katlab::build("nowhere").run()?', ["nowhere"]),
    ('katlab::build("image").tag("Not A Name").run()?', ["Not A Name"]),
    ('katlab::create("nowhere.yaml")?', ["nowhere.yaml"]),
    ('katlab::create("kind: Experiment\\nspec: {}\\n")?', ["error"]),
    ('katlab::create("{")?', ["error"]),
    ('katlab::wait("nosuch")?', ["nosuch"]),
    ('katlab::watch("nosuch")?;', ["nosuch", ":experiments"]),
    ('katlab::logs("nosuch")?', ["nosuch"]),
])
def test_a_wrong_call_reads_as_the_magic_does(here, code, told):
    outcome = here.fails(code)
    assert outcome.reply["ename"] == "Error", outcome
    assert all(part in outcome.shown for part in told), outcome
    assert "panicked" not in outcome.shown


def test_an_experiment_is_created_watched_waited_for_and_its_logs_are_read(here):
    outcome = here.run('let made: katlab::Experiment = katlab::create("good.json")?;\nprintln!("made {}", made.name);')
    assert "checks on the cluster" in outcome.shown and "made good\n" in outcome.stdout, outcome
    outcome = here.run('for event in katlab::watch("good")? { println!("{}", event?); }')
    lines = outcome.stdout.splitlines()
    started, ended = (re.findall(rf"^trial (good-\w+) has {word}", outcome.stdout, re.M) for word in ("started", "ended"))
    assert len(started) == 4 and sorted(started) == sorted(ended), outcome
    assert all(lines.index(f"trial {name} has started") < next(at for at, line in enumerate(lines) if f"{name} has ended" in line)
               for name in started)
    assert re.search(r"has ended: Succeeded, 0\.\d+", outcome.stdout)
    assert lines[-1] == "experiment good: Succeeded, 4 succeeded, 0 failed", outcome
    # What has happened comes first: to watch it again tells the same trials.
    again = here.run('katlab::watch("good")?.filter(|event| matches!(event, Ok(katlab::Event::TrialEnded(_)))).count()')
    assert again.result == "4"
    outcome = here.run('let done: katlab::Experiment = katlab::wait("good")?;\nprintln!("{} {}", done.status, done.message);')
    assert outcome.stdout.startswith("Succeeded Experiment has succeeded"), outcome
    outcome = here.run('let log: katlab::Log = katlab::logs("good")?;\nprintln!("{} {}", log.trial.as_ref().unwrap(), log.len());\nlog')
    assert outcome.stdout.split()[0] in started, outcome
    assert re.search(r"accuracy=0\.\d+", outcome.shown), outcome
    assert here.run(f'katlab::logs_tail("{started[0]}", 1)?.len()').result == "1"
    taken = here.fails('katlab::create("good.json")?')
    assert "good" in taken.shown and "already" in taken.shown, taken
    # The magic shows the logs of all its trials.
    lines = here.run(":logs good --tail 1").stdout.splitlines()
    assert [line.split("]")[0] for line in lines] == [f"[{name}" for name in in_order(here, "good")], lines
    assert all(re.search(r"accuracy=0\.\d+", line) for line in lines), lines
    assert "-f follows one log" in here.fails(":logs good -f").shown


def in_order(kernel, name):
    """The names of an experiment's trials, the oldest first."""
    return [trial["name"] for trial in json.loads(kernel.run(f":trials {name} -o json").shown)]


def test_an_export_holds_tables_that_others_read_and_says_what_ran(here, tmp_path):
    """The experiment of the test before."""
    names, folder = in_order(here, "good"), tmp_path / "good"
    here.run(f":experiment export good -o {folder}")
    read = lambda file: duckdb.sql(f"FROM '{folder}/{file}'")
    assert [row[0] for row in read("trials.parquet").order("age, name").project("name").fetchall()] == names
    kinds = dict(zip(read("metrics.parquet").columns, map(str, read("metrics.parquet").types)))
    assert kinds == {"trial": "VARCHAR", "metric": "VARCHAR", "time": "TIMESTAMP WITH TIME ZONE", "value": "DOUBLE"}
    numbers = "SELECT trial, metric, epoch_us(time::TIMESTAMPTZ), value FROM '{}' ORDER BY ALL"
    values = [duckdb.sql(numbers.format(folder / f"metrics.{ending}")).fetchall() for ending in ("parquet", "csv")]
    assert values[0] == values[1] and len(values[0]) >= 4, values
    made = json.loads((folder / "export.json").read_text())
    assert made["kubernetes"].endswith(f"+katlab.{made['katlab']}") and made["katib"] is None
    assert made["cluster"] == "sandbox" and made["exported"].endswith("Z")
    [image] = made["images"]
    assert (image["container"], image["image"], image["trials"]) == ("main", BASE, sorted(names)), image
    inspected = ["docker", "image", "inspect", "--format", "{{.Id}}", BASE]
    assert subprocess.run(inspected, check=True, capture_output=True, text=True).stdout.strip() in image["imageID"]
    # It came from no registry.
    assert image["digest"] is None
    assert in_order(here, f"--from {folder}") == names


def test_an_experiment_made_from_text_that_fails_is_told_by_its_status(here):
    here.run('let text: String = std::fs::read_to_string("exits.json")?;\nkatlab::create(&text)?;')
    outcome = here.run('let done: katlab::Experiment = katlab::wait("exits")?;\nprintln!("{}", done.status);')
    assert outcome.stdout == "Failed\n", outcome
    assert "the reason" in here.run('katlab::logs("exits")?').shown


def test_an_interrupt_ends_a_waiting_cell_and_nothing_else(here):
    here.run('katlab::create("endless.json")?;')
    outcome = interrupted(here, 'katlab::wait("endless")?', "waiting for experiment endless")
    assert "the experiment goes on" in outcome.shown
    code = 'for event in katlab::watch("endless")? { println!("{}", event?); }'
    assert "the experiment goes on" in interrupted(here, code, "has started").shown
    outcome = here.fails('katlab::wait_timeout("endless", std::time::Duration::from_millis(200))?')
    assert "still not completed" in outcome.shown and "without this cell" in outcome.shown, outcome
    # One who does not hand the error on goes on at once, with what comes next.
    code = 'let refused: bool = katlab::wait("endless").is_err();\nprintln!("refused {refused}");\nkatlab::wait("endless")?;'
    assert "refused true" in interrupted(here, code, "waiting for experiment endless").stdout
    interrupted(here, 'katlab::build("image").dockerfile("image/Sleeps").no_cache().run()?', "asleep")
    wait_until(lambda: not builds(), 20, "the end of the build's container")
    # Clients and magics are as they were.
    assert "endless" in here.run(":experiments").shown
    assert here.run('katlab::experiment("endless")?.status').result == '"Running"'
    assert "begun" in here.run('katlab::logs("endless")?').shown


def builds():
    command = ["docker", "ps", "--no-trunc", "--format", "{{.Command}}"]
    return [line for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
            if "echo asleep" in line]


def test_a_cell_that_does_not_heed_an_interrupt_is_ended(here):
    """Last, for its program is ended, and with it every variable."""
    code = 'println!("begun");\nloop { let _ = katlab::wait("endless"); }'
    sent = []

    def interrupt(message):
        if not sent and "waiting for experiment" in json.dumps(message["content"]):
            sent.append(here.interrupt())

    outcome = here.collect(here.send(code), code, on_message=interrupt)
    assert outcome.reply["ename"] == "KeyboardInterrupt" and "gone" in outcome.shown, outcome
    assert len(outcome.of("display_data")) == 1, outcome
    assert here.run('katlab::experiment("endless")?.name').result == '"endless"'
    outcome = here.run(':experiment delete endless --yes\nkatlab::experiments()?.iter().any(|one| one.name == "endless")')
    assert outcome.result in ("true", "false"), outcome
