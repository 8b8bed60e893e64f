"""Rust cells: values, output, errors, panics, lost engines, interrupts at every phase."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from jupyter import Kernel
from test_protocol import alive, wait_for


def children(pid):
    found = set()
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        # A process or a thread may end while it is being looked at.
        with contextlib.suppress(OSError):
            found.update(int(child) for child in task.read_text().split())
    return sorted(found)


def command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def engine_of(kernel):
    found = [pid for pid in children(kernel.pid) if "--control_file" in command_line(pid)]
    assert len(found) == 1, found
    return found[0]


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def compiles(engine):
    return any("rustc" in command_line(pid) or "cargo" in command_line(pid) for pid in descendants(engine))


def test_values_and_items_last_from_cell_to_cell(warm):
    warm.run("fn double(n: i64) -> i64 { n * 2 }\nlet base: i64 = 21;")
    outcome = warm.run("double(base)")
    assert outcome.result == "42"
    assert outcome.of("execute_result")[0]["execution_count"] == outcome.reply["execution_count"]


def test_a_mixed_cell_runs_top_to_bottom(warm):
    outcome = warm.run('!echo one\nlet two: &str = "two";\nprintln!("{two}");\n!echo three\nprintln!("four");')
    assert outcome.stdout.split() == ["one", "two", "three", "four"]


def test_a_mixed_cell_stops_at_the_first_error(warm):
    outcome = warm.fails('println!("before");\n!false\nprintln!("after");')
    assert "before" in outcome.stdout and "after" not in outcome.shown


def test_evcxr_commands_work(warm):
    warm.run("let listed: u8 = 7;")
    assert "listed" in warm.run(":vars").result
    assert re.match(r"\d+\.\d+", warm.run(":version").result)


def test_an_unknown_command_is_named_with_a_near_miss(kernel):
    outcome = kernel.fails(":registri login x")
    assert ":registri" in outcome.shown and "started" not in outcome.shown


def test_compile_errors_are_shown_as_the_engine_renders_them(warm):
    outcome = warm.fails("let wrong: i32 = \"text\";")
    assert outcome.reply["ename"] == "CompileError"
    assert "mismatched types" in outcome.shown
    assert len(outcome.of("error")) == 1
    assert "katlab:end" not in outcome.shown


def test_a_panic_is_an_error_with_its_line_and_variables_stay(warm):
    warm.run("let kept: i32 = 5;")
    outcome = warm.fails('println!("first");\nlet none: Option<i32> = None;\nnone.expect("a value");')
    assert outcome.reply["ename"] == "panic"
    assert "a value" in outcome.reply["evalue"] and "line 3" in outcome.shown
    assert outcome.stdout == "first\n"
    assert "stack backtrace" not in outcome.shown
    assert warm.run("kept").result == "5"


def test_a_panic_in_a_value_cell_is_an_error(warm):
    assert warm.fails('{ if true { panic!("in a value") }; 1 }').reply["ename"] == "panic"


def test_a_panic_under_a_hook_of_the_users_own_is_an_error_as_well(kernel):
    kernel.run("let _ = std::panic::take_hook();")
    assert "own hook" in kernel.fails('panic!("under my own hook");').reply["evalue"]


def test_a_caught_panic_is_no_error(warm):
    outcome = warm.run('let caught: bool = std::panic::catch_unwind(|| panic!("inside")).is_err();\nprintln!("{caught}");')
    assert outcome.stdout == "true\n"
    warm.run('let again: bool = std::panic::catch_unwind(|| panic!("inside")).is_err();')


def test_a_panic_of_a_thread_is_told_and_the_cell_goes_on(warm):
    outcome = warm.run(
        'let joined: bool = std::thread::Builder::new().name("worker".into())'
        '.spawn(|| panic!("in a thread")).unwrap().join().is_err();\nprintln!("{joined}");'
    )
    assert outcome.stdout == "true\n"
    assert "worker" in outcome.stderr and "in a thread" in outcome.stderr


@pytest.mark.parametrize("code", ['let number: i32 = "x".parse()?;\nprintln!("{number}");', '"x".parse::<i32>()?'])
def test_a_failed_question_mark_is_an_error(warm, code):
    outcome = warm.fails(code)
    assert "invalid digit" in outcome.reply["evalue"]


def test_a_question_mark_that_succeeds_is_none(warm):
    assert warm.run('let number: i32 = "12".parse()?;\neprintln!("a note");\nprintln!("{number}");').stdout == "12\n"
    assert warm.run('"12".parse::<i32>()?').result == "12"


def test_output_without_a_newline_is_shown_with_its_cell(warm):
    assert warm.run('print!("no newline");').stdout == "no newline"
    assert warm.run('println!("next");').stdout == "next\n"
    assert warm.run('eprint!("no newline");').stderr == "no newline"


def test_twenty_thousand_lines_arrive_whole_in_order_and_in_few_messages(warm):
    outcome = warm.run('for line in 0..20_000 { println!("line {line}"); }')
    assert outcome.stdout == "".join(f"line {line}\n" for line in range(20_000))
    assert len(outcome.of("stream")) < 400


def test_no_line_of_stderr_comes_after_idle(warm):
    for number in range(100):
        outcome = warm.run(f'eprintln!("late {number}");')
        assert outcome.stderr == f"late {number}\n"


def test_no_line_of_stderr_of_a_value_cell_comes_after_idle(warm):
    for number in range(20):
        outcome = warm.run(f'{{ eprintln!("late {number}"); {number} }}')
        assert (outcome.stderr, outcome.result) == (f"late {number}\n", str(number))


def test_displays_keep_their_place_among_printed_lines(warm):
    # The crate is built before the first cell that names it, with a line that says so.
    warm.run('katlab::env("NO_SUCH").is_err()')
    outcome = warm.run(
        'println!("a");\n'
        'let id: String = katlab::display(&[("text/plain", "0 %")])?;\n'
        'println!("b");\n'
        'katlab::update(&id, &[("text/plain", "100 %")])?;\n'
        'println!("c");'
    )
    order = [
        message["content"].get("text") or message["content"]["data"]["text/plain"]
        for message in outcome.messages if message["msg_type"] in ("stream", "display_data", "update_display_data")
    ]
    assert order == ["a\n", "0 %", "b\n", "100 %", "c\n"]


def test_cells_read_settings_and_no_secrets(warm):
    warm.run(":env PLAIN=visible\n:env set --secret HIDDEN=s3cret-value-9")
    assert warm.run('println!("{}", katlab::env("PLAIN")?);').stdout == "visible\n"
    assert warm.run('println!("{}", std::env::var("PLAIN").unwrap());').stdout == "visible\n"
    assert "secret" in warm.fails('println!("{}", katlab::env("HIDDEN")?);').shown
    assert warm.run('println!("{}", std::env::var("HIDDEN").is_err());').stdout == "true\n"


def test_a_secret_printed_by_a_cell_is_masked(warm):
    warm.run(":env set --secret PRINTED=top-secret-123")
    outcome = warm.run('println!("{}{}", "top-secret", "-123");')
    assert "top-secret-123" not in outcome.shown


def test_a_cell_asks_for_input(warm):
    warm.run(':dep evcxr_input = "1"', check=False)
    code = 'println!("EVCXR_INPUT_REQUEST:Name?:"); let mut line = String::new(); std::io::stdin().read_line(&mut line)?; println!("hello {}", line.trim());'
    identity = warm.client.execute(code, allow_stdin=True)
    request = warm.client.get_stdin_msg(timeout=60)
    assert request["content"] == {"prompt": "Name?", "password": False}
    warm.client.input("Ada")
    assert warm.collect(identity).stdout == "hello Ada\n"
    assert "cannot be asked" in warm.fails(code, allow_stdin=False).shown


def test_a_subshell_says_that_the_engine_is_busy_and_disturbs_nothing(warm):
    subshell = warm.request("create_subshell_request")["subshell_id"]
    running = warm.send(
        'println!("begun");\nstd::thread::sleep(std::time::Duration::from_secs(4));\n'
        'katlab::display(&[("text/plain", "still here")])?;'
    )
    refused = []

    def ask_beside(message):
        if message["msg_type"] == "stream" and not refused:
            request = warm.client.session.msg("execute_request", {"code": "1 + 1", "silent": False})
            request["header"]["subshell_id"] = subshell
            warm.client.shell_channel.send(request)
            refused.append(warm.reply(request["header"]["msg_id"])["content"])

    outcome = warm.collect(running, on_message=ask_beside)
    assert outcome.status == "ok" and "still here" in outcome.shown
    assert refused[0]["ename"] == "EngineBusy"
    warm.request("delete_subshell_request", {"subshell_id": subshell})


def test_completion_and_inspection_work_around_wide_characters(warm):
    code = 'let s = "👩‍💻é"; let word = String::new(); word.is_emp'
    warm.client.complete(code, len(code))
    content = warm.client.get_shell_msg(timeout=60)["content"]
    assert content["matches"] == ["is_empty"]
    assert code[content["cursor_start"]:content["cursor_end"]] == "is_emp"
    mixed = f":help\n{code}"
    warm.client.complete(mixed, len(mixed))
    content = warm.client.get_shell_msg(timeout=60)["content"]
    assert mixed[content["cursor_start"]:content["cursor_end"]] == "is_emp"


def test_the_crate_is_completed_and_explained_before_any_engine_runs(katlab_bin, tmp_path):
    with Kernel(tmp_path / "home", cwd=tmp_path) as kernel:
        code = "let 시험 = katlab::"
        kernel.client.complete(code, len(code))
        content = kernel.client.get_shell_msg(timeout=10)["content"]
        assert {"trials", "table!", "Plot"} <= set(content["matches"]), content
        assert (content["cursor_start"], content["cursor_end"]) == (len(code), len(code))
        kernel.client.inspect("katlab::trials_from", 10)
        page = kernel.client.get_shell_msg(timeout=10)["content"]["data"]["text/plain"]
        assert page.startswith("pub fn trials_from(folder: &str) -> Result<Trials>") and "export" in page
        # The question has started the engine, which answers what the sources alone do not tell: a first cell
        # can be written to its end by Tab.
        def methods():
            first = 'let 시험 = katlab::trials_from("a")?; 시험.'
            kernel.client.complete(first, len(first))
            return kernel.client.get_shell_msg(timeout=120)["content"]["matches"]
        wait_for(lambda: "sorted_by" in methods(), 120)
        # What a cell may not use is not offered.
        assert not {"list", "source", "evcxr_display", "with"} & set(methods())
        # Each name is what it says: the compiler finds them all.
        names = [name for name in content["matches"] if name != "table!"]
        assert kernel.run("use katlab::{%s}; 1 + 1" % ", ".join(names)).result == "2"
        # The engine knows as much of the kernel as one that a cell has started.
        outcome = kernel.run('println!("a");\nkatlab::display(&[("text/plain", "shown")])?;\nprintln!("b");')
        order = [message["msg_type"] for message in outcome.messages if message["msg_type"] in ("stream", "display_data")]
        assert order == ["stream", "display_data", "stream"]


def test_an_engine_uses_what_an_earlier_one_built_of_the_crate(katlab_bin, tmp_path):
    code = 'katlab::env("NO_SUCH").is_err()'
    with Kernel(tmp_path / "home", cwd=tmp_path) as first:
        outcome = first.run(code)
        assert outcome.result == "true" and "1 crate in" in outcome.shown
        built = tmp_path / "home/cells"
        wait_for(lambda: list(built.glob("*/built/katlab-*/*/debug/deps/*.rlib")))
    with Kernel(tmp_path / "home", cwd=tmp_path) as second:
        assert second.run("1 + 1").result == "2"
        outcome = second.run(code)
        assert outcome.result == "true" and "crate in" not in outcome.shown
        # What is forgotten with all other dependencies is there again for a cell that names it.
        second.run(":clear")
        assert second.run(code).result == "true"
        assert "NO_SUCH" in second.fails('katlab::env("NO_SUCH")').reply["evalue"]
    # What is not there whole is built again.
    for library in built.glob("*/built/katlab-*/*/debug/deps/*.rlib"):
        library.unlink()
    with Kernel(tmp_path / "home", cwd=tmp_path) as third:
        outcome = third.run(code)
        assert outcome.result == "true" and "1 crate in" in outcome.shown
        wait_for(lambda: list(built.glob("*/built/katlab-*/*/debug/deps/*.rlib")))


def test_a_first_cell_that_names_the_crate_knows_the_standard_library(katlab_bin, tmp_path):
    with Kernel(tmp_path / "home", cwd=tmp_path) as kernel:
        kernel.run('let missing = katlab::env("NO_SUCH").is_err(); let names = vec![String::from("a")];')
        assert kernel.run('let lengths: Vec<_> = names.iter().map(|name| name.len()).collect(); lengths').result == "[1]"
        assert "write `katlab::Plot`" in kernel.fails("Plot::history()").shown


def test_without_the_crate_a_cell_that_names_it_says_why_and_others_work(katlab_bin, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/cells").write_text("in the way")
    with Kernel(tmp_path / "home", cwd=tmp_path) as kernel:
        assert "could not be written to" in kernel.fails('katlab::env("NO_SUCH")').shown
        kernel.run('let names = vec![String::from("a")];')
        assert kernel.run("names.len()").result == "1"


def test_an_interrupted_compile_keeps_variables(warm):
    warm.run("let before: i32 = 11;")
    engine = engine_of(warm)
    identity = warm.send("let after: i32 = 12;")
    wait_for(lambda: compiles(engine))
    warm.interrupt()
    outcome = warm.collect(identity)
    assert outcome.reply["ename"] == "KeyboardInterrupt" and "kept" in outcome.shown
    assert warm.run("before").result == "11"
    assert engine_of(warm) == engine


def test_a_value_behind_a_question_mark_shows_itself_richly(katlab_bin, tmp_path):
    shows = 'println!("EVCXR_BEGIN_CONTENT text/html\\n<b>rich</b>\\nEVCXR_END_CONTENT");'
    with Kernel(tmp_path / "home", cwd=tmp_path) as kernel:
        kernel.run("#[derive(Debug)] struct Rich;\nimpl Rich { fn evcxr_display(&self) { %s } }" % shows)
        [shown] = kernel.run("Ok::<Rich, String>(Rich)?").of("execute_result")
        assert shown["data"]["text/html"] == "<b>rich</b>"


def test_an_interrupted_build_of_a_dependency_keeps_variables(warm, tmp_path):
    warm.run("let before: i32 = 11;")
    crate = tmp_path / "slow"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text('[package]\nname = "slow"\nversion = "0.1.0"\nedition = "2024"\n')
    (crate / "src" / "lib.rs").write_text("")
    (crate / "build.rs").write_text("fn main() { std::thread::sleep(std::time::Duration::from_secs(120)); }")
    identity = warm.send(f':dep slow = {{ path = "{crate}" }}')
    engine = engine_of(warm)
    wait_for(lambda: any("build-script" in command_line(pid) for pid in descendants(engine)))
    start = time.monotonic()
    warm.interrupt()
    outcome = warm.collect(identity)
    assert outcome.reply["ename"] == "KeyboardInterrupt" and time.monotonic() - start < 10
    assert warm.run("before").result == "11"


def test_output_of_a_thread_that_outlives_its_cell_belongs_to_that_cell(warm):
    identity = warm.send(
        "std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_secs(2)); eprintln!(\"afterwards\"); });"
    )
    assert "afterwards" not in warm.collect(identity).stderr
    deadline = time.monotonic() + 20
    while True:
        assert time.monotonic() < deadline
        message = warm.client.get_iopub_msg(timeout=20)
        if message["msg_type"] == "stream" and "afterwards" in message["content"]["text"]:
            assert message["parent_header"]["msg_id"] == identity
            break


def test_an_interrupted_program_loses_variables_and_says_so(warm):
    warm.run("let before: i32 = 11;")
    identity = warm.send('println!("begun"); loop { std::thread::sleep(std::time::Duration::from_millis(10)); }')
    collected = []

    def interrupt(message):
        if message["msg_type"] == "stream" and not collected:
            collected.append(time.monotonic())
            warm.interrupt()

    outcome = warm.collect(identity, on_message=interrupt)
    assert outcome.reply["ename"] == "KeyboardInterrupt" and "gone" in outcome.shown
    assert time.monotonic() - collected[0] < 5
    assert warm.run("1 + 1").result == "2"
    assert warm.fails('panic!("the hook is there again");').reply["ename"] == "panic"


def test_an_interrupted_flood_of_lines_leaves_an_engine_that_answers(kernel):
    identity = kernel.send('loop { println!("{}", "x".repeat(200)); }')
    seen = []

    def interrupt(message):
        if message["msg_type"] == "stream":
            seen.append(time.monotonic())
            if len(seen) == 60:
                kernel.interrupt()

    outcome = kernel.collect(identity, on_message=interrupt)
    assert outcome.reply["ename"] == "KeyboardInterrupt" and "gone" in outcome.shown
    assert kernel.run("1 + 1", timeout=60).result == "2"


def test_an_interrupt_while_idle_does_no_harm(warm):
    warm.run("let calm: i32 = 3;")
    warm.interrupt()
    assert warm.run("calm").result == "3"


def test_an_interrupt_while_the_engine_starts_ends_only_the_cell(kernel):
    identity = kernel.send("1 + 1")
    wait_for(lambda: any("--control_file" in command_line(pid) for pid in children(kernel.pid)))
    kernel.interrupt()
    outcome = kernel.collect(identity)
    assert outcome.reply["ename"] == "KeyboardInterrupt"
    assert kernel.run("1 + 1").result == "2"


def test_a_process_that_exits_loses_variables_and_keeps_items(warm):
    warm.run("fn item() -> i32 { 9 }\nlet lost: i32 = 1;")
    outcome = warm.fails("std::process::exit(3);")
    assert "variables are gone" in outcome.shown
    assert warm.run("item()").result == "9"
    warm.fails("lost")


@pytest.mark.parametrize("code", [
    "std::process::abort();",
    "unsafe { std::ptr::null_mut::<i32>().write_volatile(1) };",
    "fn deep(n: u64) -> u64 { let big = [n; 4096]; if n == 0 { 0 } else { deep(n + 1) + big[7] } }\ndeep(1);",
])
def test_a_crash_is_an_error_and_the_next_cell_works(warm, code):
    assert warm.fails(code).status == "error"
    assert warm.run("2 + 2").result == "4"


def test_an_engine_killed_while_a_cell_runs_is_told_and_replaced(kernel):
    kernel.run("let x: i32 = 1;")
    identity = kernel.send('println!("begun"); loop { std::thread::sleep(std::time::Duration::from_millis(10)); }')
    below = []

    def kill(message):
        if message["msg_type"] == "stream" and not below:
            engine = engine_of(kernel)
            below.extend(descendants(engine))
            os.kill(engine, signal.SIGKILL)

    outcome = kernel.collect(identity, on_message=kill)
    assert outcome.reply["ename"] == "EngineError"
    assert "memory" in outcome.shown and "gone" in outcome.shown
    wait_for(lambda: not any(alive(pid) for pid in below))
    assert kernel.run("!echo magics").stdout == "magics\n"
    assert kernel.run("1 + 1").result == "2"


def test_an_engine_killed_while_idle_is_replaced(kernel):
    kernel.run("let x: i32 = 1;")
    os.kill(engine_of(kernel), signal.SIGKILL)
    outcome = kernel.run("1 + 1")
    assert outcome.result == "2" and "gone" in outcome.shown


def test_quit_and_restart_are_caught(kernel):
    assert "not running" in kernel.run(":quit").shown
    kernel.run("fn item() -> i32 { 9 }\nlet lost: i32 = 1;")
    assert "variables are gone" in kernel.run(":restart").shown
    assert kernel.run("item()").result == "9"
    kernel.fails("lost")
    assert kernel.fails('panic!("told");').reply["ename"] == "panic"
    kernel.run(":quit")
    assert kernel.run("1 + 1").result == "2"


def test_a_killed_kernel_leaves_no_process_behind(tmp_path):
    with Kernel(tmp_path / "home") as kernel:
        identity = kernel.send('println!("begun"); loop {}')
        below = []

        def kill(message):
            if message["msg_type"] == "stream" and not below:
                below.extend(descendants(kernel.pid))
                os.kill(kernel.pid, signal.SIGKILL)
                raise StopIteration

        with pytest.raises(StopIteration):
            kernel.collect(identity, on_message=kill)
        assert below
        wait_for(lambda: not any(alive(pid) for pid in below))


def test_without_cargo_magics_work_and_rust_says_what_is_missing(tmp_path):
    bare = tmp_path / "bin"
    bare.mkdir()
    for tool in ("sh", "echo"):
        (bare / tool).symlink_to(shutil.which(tool))
    environment = {"PATH": str(bare), "CARGO_HOME": str(tmp_path), "HOME": str(tmp_path)}
    with Kernel(tmp_path / "home", environment=environment) as kernel:
        assert kernel.run("!echo works").stdout == "works\n"
        outcome = kernel.fails("1 + 1")
        assert "cargo" in outcome.reply["evalue"] and "rustup" in outcome.shown
        assert kernel.run(":help").status == "ok"


def test_without_the_librarys_source_a_hint_says_once_how_types_are_inferred(tmp_path):
    real = pathlib.Path(subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True).stdout.strip())
    sysroot, bare = tmp_path / "sysroot", tmp_path / "bin"
    bare.mkdir()
    (sysroot / "lib" / "rustlib").mkdir(parents=True)
    for entry in [*real.glob("*"), *real.glob("lib/*"), *real.glob("lib/rustlib/*")]:
        link = sysroot / entry.relative_to(real)
        if not link.exists() and entry.name != "src":
            link.symlink_to(entry)
    (bare / "cargo").symlink_to(real / "bin" / "cargo")
    (bare / "rustc").write_text(f'#!/bin/sh\nexec {real}/bin/rustc --sysroot={sysroot} "$@"\n')
    (bare / "rustc").chmod(0o755)
    environment = {"PATH": f"{bare}:/usr/bin:/bin", "RUSTUP_HOME": str(tmp_path)}
    with Kernel(tmp_path / "home", environment=environment) as kernel:
        assert "rust-src" in kernel.fails("let inferred = vec![1];").shown
        assert "rust-src" not in kernel.fails("let inferred = vec![2];").shown
        kernel.run("let explicit: Vec<i32> = vec![1];")


def test_cells_are_loaded_when_builds_and_toolchain_share_a_top_directory(tmp_path):
    """The path a cell's library is compiled with does not lead to libstd then."""
    toolchain = pathlib.Path(subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True).stdout.strip())
    with tempfile.TemporaryDirectory(dir=toolchain.parent) as directory:
        with Kernel(tmp_path / "home", environment={"TMPDIR": directory}) as kernel:
            assert kernel.run("1 + 1").result == "2"


def test_builds_of_dependencies_are_visible(kernel, tmp_path):
    crate = tmp_path / "helper"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text('[package]\nname = "helper"\nversion = "0.1.0"\nedition = "2024"\n')
    (crate / "src" / "lib.rs").write_text("pub fn answer() -> i32 { 42 }")
    outcome = kernel.run(f':dep helper = {{ path = "{crate}" }}\nhelper::answer()')
    assert outcome.result == "42"
    updates = [content["data"]["text/plain"] for content in outcome.of("display_data")]
    assert any("Compiling helper" in text for text in updates), updates
    assert "Compiled 1 crate" in outcome.shown


def test_two_kernels_side_by_side_do_not_disturb_each_other(tmp_path):
    with Kernel(tmp_path / "home") as one, Kernel(tmp_path / "home") as two:
        first, second = one.send("let mine: i32 = 1;"), two.send("let mine: i32 = 2;")
        assert one.collect(first).status == two.collect(second).status == "ok"
        assert (one.run("mine").result, two.run("mine").result) == ("1", "2")
