"""Trials of an export as Rust values: read, drawn, tabled, bound by an arrow; and filters tried on logs."""

import json
import shutil
import time

import pytest

from cells import ROOT
from jupyter import Kernel

VEGA = "application/vnd.vegalite.v5+json"
FROM = 'katlab::trials_from("digits-random")?'


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    for name in ("digits-random", "digits-tpe"):
        shutil.copytree(ROOT / "notebooks/data" / name, folder / name)
    (folder / "train.log").write_text(
        "epoch 1 accuracy: 0.5\nepoch 2 accuracy: 1e-05\nvalidation done\n\x1b[31mval_accuracy=0.9\n")
    return folder


@pytest.fixture(scope="module")
def here(katlab_bin, work):
    environment = {"DOCKER_HOST": "tcp://127.0.0.1:1"}
    with Kernel(work / "home", cwd=work, environment=environment) as kernel:
        kernel.run(f"use katlab::Plot;\nlet trials: katlab::Trials = {FROM};")
        yield kernel


def charts(outcome):
    return [content["data"] for content in outcome.of("display_data") if VEGA in content["data"]]


def test_a_chart_from_rust_is_the_one_of_the_magic(here, work):
    for kind, options, chain in [
        ("history", "", ""), ("importance", "", ""), ("timeline", "", ""),
        ("contour", "--params hidden,learning_rate", '.params(["hidden", "learning_rate"])'),
        ("metrics", "--metric loss --top 3", '.metric(["loss"]).top(3)'),
        ("pareto", "--maximize loss --where 'accuracy > 0.5'", '.maximize("loss").filter("accuracy > 0.5")'),
    ]:
        magic, = charts(here.run(f":plot --from digits-random {kind} {options}"))
        outcome = here.run(f"trials.plot(Plot::{kind}(){chain})?")
        rust, = charts(outcome)
        assert rust == magic, kind
        size = outcome.of("display_data")[0]["metadata"]["image/png"]
        assert size["width"] > 100 and size["height"] > 100
    here.run('trials.plot(Plot::slice())?.save("slice.svg")?;')
    assert (work / "slice.svg").read_text().startswith("<svg")


def test_a_chart_is_of_exactly_the_trials_at_hand_and_keeps_its_place(here):
    outcome = here.run(
        'let best: katlab::Trials = trials.filter(|trial| trial.objective > Some(0.98));\n'
        'println!("{}", best.len());\nbest.plot(Plot::parallel())?.show()?;\nprintln!("after");')
    order = [message["msg_type"] for message in outcome.messages if message["msg_type"] in ("stream", "display_data")]
    assert order == ["stream", "display_data", "stream"]
    count = int(outcome.stdout.split()[0])
    assert 0 < count < 10
    assert f"{count} trials over" in charts(outcome)[0]["text/plain"]


@pytest.mark.parametrize("code, said", [
    ('katlab::trials_from("nowhere")?', ["experiment.yaml is missing", ":experiment export"]),
    ('katlab::trials_from("nowhere")', ["experiment.yaml is missing", ":experiment export"]),
    ('trials.plot(Plot::slice().params(["momentum"]))?', ["no parameter `momentum`", "--learning_rate"]),
    ('trials.plot(Plot::history().params(["hidden"]))?', ["takes no `params`"]),
    ('trials.plot(Plot::history().filter("acuracy > 1"))?', ["no column `acuracy`", "did you mean `accuracy`?"]),
    ('trials.filter(|_| false).plot(Plot::history())?', ["no trial to draw"]),
    ('trials.plot(Plot::history())?.save("chart.gif")?;', [".png"]),
    ('trials.metrics("digits-random-cvk9q5zz")?', ["has no trial", "did you mean `digits-random-cvk9q5zf`?"]),
])
def test_what_cannot_be_done_from_rust_is_said_as_the_magics_say_it(here, code, said):
    outcome = here.fails(code)
    for words in said:
        # Once: what has been printed is not said again.
        assert outcome.shown.lower().count(words.lower()) == 1, outcome.shown
    assert "panicked" not in outcome.shown


def test_what_is_in_a_result_or_an_option_shows_itself(here):
    table = here.run("trials.top(2)").shown
    names = [line.split()[0].removeprefix("★") for line in table.splitlines()[1:]]
    assert len(names) == 2 and "digits-random-" in table, table
    for code in ('katlab::trials_from("digits-random").map(|all| all.top(2))', "Some(trials.top(2))",
                 "trials.top(2).to_vec()"):
        assert here.run(code).shown == table, code
    assert here.run("trials.best()").shown == here.run("trials.top(1)[0]").shown
    assert charts(here.run("trials.plot(Plot::history())"))
    assert here.run("trials.filter(|_| false).best()").shown.strip() == "None"
    assert here.run("Some(5)").result == "Some(5)"


def test_a_table_is_made_of_a_loop(here):
    outcome = here.run('katlab::table!(for t in trials.iter().take(2); "trial" => t.name, "lr" => t.parameter("learning_rate"), '
                       '"good" => t.objective > Some(0.9), "text" => t.parameter_text("optimizer"))')
    lines = outcome.result.splitlines()
    assert lines[0].split() == ["trial", "lr", "good", "text"] and len(lines) == 3
    assert "<table" in outcome.of("execute_result")[0]["data"]["text/html"]
    assert here.run('trials.experiment()?').result.split()[7:9] == ["digits-random", "Succeeded"]


def test_an_arrow_makes_a_variable_of_what_a_magic_found(here):
    line = ":trials --from digits-random --where 'status=Succeeded' --sort -accuracy --limit 4"
    listed = [trial["name"] for trial in json.loads(here.run(f"{line} -o json").shown)]
    outcome = here.run(f'{line} => best_ones\nfor trial in &best_ones {{ println!("{{}}", trial.name); }}')
    assert "best_ones: katlab::Trials, 4 trials of digits-random" in outcome.shown
    assert outcome.stdout.split() == listed
    # It knows where it comes from.
    assert "4 trials" in charts(here.run("best_ones.plot(Plot::parallel())?"))[0]["text/plain"]


@pytest.mark.parametrize("line, said", [
    (":images => x", ["gives nothing", ":trials mnist => trials"]),
    (":trials --from digits-random => match", ["`match` cannot be the name"]),
    (":trials --from digits-random =>", ["the name of one variable"]),
    (":trials --from digits-random --where 'acuracy > 1' => x", ["did you mean `accuracy`?"]),
    (":plot --from digits-random histroy", ["no chart `histroy`", "did you mean `history`?"]),
    (":metrics test nothing.log", ["no file nothing.log"]),
    (":metrics test train.log --filter 'accuracy=[0-9.]+'", ["fewer than two groups"]),
    (":metrics test train.log --filter '(acc'", ["RE2"]),
    (":metrics test digits-random-xxxxxxxx --from digits-random", ["has no trial"]),
    (":tune next --from-best ./digits-random momentum=1..2", ["no parameter `momentum`", "--learning_rate"]),
    (":tune digits-random --from-best ./digits-random", ["the name of the earlier experiment"]),
    (":tune Next lr=1..2", ["is no name", "`next`"]),
    (":tune next lr=1..b", ["`b`, which is no number", "lr=1e-4..0.1:log"]),
    (":tune next lr=1..2 lr=3..4", ["given twice"]),
    (":tune next lr=1..2 --maximize accuracy --image a:1", ["the command is not given"]),
    (":tune next --from-best ./digits-random --top 0", ["more than 0"]),
    (":rerun digits-random-cvk9q5zf digits-random", ["belongs to one experiment"]),
    (":rerun best", ["the best of which experiment?"]),
    (":rerun digits-random-cvk9q5zz --from digits-random", ["did you mean `digits-random-cvk9q5zf`?"]),
])
def test_what_makes_no_sense_is_said_with_what_to_do(here, line, said):
    outcome = here.fails(line)
    for words in said:
        assert words.lower() in outcome.shown.lower(), outcome.shown


def test_names_are_completed_and_explained_behind_the_crate(here):
    code, deadline = "katlab::", time.monotonic() + 120
    while True:
        # The analyser reads the standard library first.
        here.client.complete(code, len(code))
        reply = here.client.get_shell_msg(timeout=60)
        matches = reply["content"].get("matches", [])
        if matches or time.monotonic() > deadline:
            break
        time.sleep(1)
    names = " ".join(matches)
    for name in ("trials_from", "plot", "Plot", "table", "metrics", "experiment"):
        assert name in names, matches
    assert "bound" not in matches, matches


def test_a_filter_is_tried_on_a_log_and_near_misses_are_explained(here):
    outcome = here.run(":metrics test train.log --metric accuracy --filter '(accuracy): (\\d+)'")
    shown = outcome.shown
    assert "2 values in 2 of 4 lines" in shown
    assert "the value is cut: `0` of `0.5`" in shown and "`1` of `1e-05`" in shown
    assert "\x1b[31m" not in shown
    html = outcome.of("display_data")[0]["data"]["text/html"]
    assert ">accuracy</span>" in html
    # The default filter wants an equals sign, and one that reads the line is offered.
    shown = here.run(":metrics test train.log --metric accuracy").shown
    assert "✗ accuracy" in shown and "then it wants" in shown
    offered = shown[shown.index("--filter ") + len("--filter "):].splitlines()[0]
    assert "2 values" in here.run(f":metrics test train.log --metric accuracy --filter {offered}").shown
    # Without metrics every name counts.
    assert "val_accuracy" in here.run(":metrics test train.log").shown


def test_the_next_experiment_is_where_the_best_trials_were(here, work):
    shown = here.run(":tune next --from-best ./digits-random --top 10% --max-trials 8 optimizer=adam -o next.yaml").shown
    assert "rests on the best 5 of 43 trials" in shown and "nothing runs yet" in shown
    assert "as given" in shown and "the best lie here" in shown
    assert "is there already" in here.fails(":tune next --from-best ./digits-random -o next.yaml").shown
    here.run(":experiment lint next.yaml")
    shown = here.run(":rerun best --from digits-tpe --name again").shown
    assert "digest of digits:1.0 is not known" in shown and "reached accuracy 0.991643" in shown
    assert "maxTrialCount: 1\n" in shown and '"0.23292479367809632"' in shown
    # An export that says what ran gives the digest.
    trials = [trial["metadata"]["name"] for trial in json.loads((work / "digits-tpe/trials.json").read_text())]
    digest = "127.0.0.1:5000/digits@sha256:" + "12" * 32
    image = {"container": "training", "image": "digits:1.0", "imageID": digest, "digest": digest, "trials": trials}
    (work / "digits-tpe/export.json").write_text(json.dumps({"katlab": "0.1.0", "images": [image]}))
    shown = here.run(":rerun best --from digits-tpe --name again").shown
    assert digest in shown and "is not known" not in shown, shown


def test_why_explains_what_was_exported(here):
    failed = here.run(":trials --from digits-random --where status=Failed --columns name -o name").shown.split()
    outcome = here.run(":why --from digits-random")
    assert f"{len(failed)} of 48 trials did not bring a result" in outcome.shown, outcome.shown
    assert failed[0] in outcome.shown and "The end of the log" in outcome.shown
    assert ":why TRIAL --from digits-random" in outcome.shown
    one = here.run(f":why {failed[-1]} --from digits-random")
    assert "it failed" in one.shown and "network is dead" in one.shown, one.shown
    assert "Did you mean" in here.fails(f":why {failed[0][:-1]} --from digits-random").shown
    assert "--from" in here.fails(":why").shown
