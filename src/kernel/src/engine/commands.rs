//! The engine's own commands, for help and completion before (and without) an engine.

/// Each command and what it does.
pub const COMMANDS: &[(&str, &str)] = &[
    (
        ":allow_static_linking",
        "link dependencies statically (1) or as shared libraries (0)",
    ),
    (
        ":build_env",
        "set an environment variable for builds: NAME=VALUE",
    ),
    (
        ":cache",
        "keep compiled dependencies for later kernels, up to so many MiB; 0 turns it off",
    ),
    (":clear", "forget all variables, items and dependencies"),
    (":clear_cache", "empty that cache"),
    (
        ":codegen_backend",
        "which code generator the compiler uses (nightly)",
    ),
    (
        ":dep",
        "add a dependency: `:dep regex = \"1\"` or `:dep ./path`",
    ),
    (":doc", "documentation of a variable, type or module"),
    (":efmt", "how errors returned by `?` are printed"),
    (":explain", "the compiler's explanation of the last error"),
    (":fmt", "how values are printed; `{:?}` at first"),
    (":last_compile_dir", "where the last cell was compiled"),
    (
        ":last_error_json",
        "the last compile error as the compiler gave it",
    ),
    (":linker", "which linker is used: system, lld, mold"),
    (":load_config", "read the engine's configuration again"),
    (
        ":offline",
        "never use the network for builds (1), or do (0)",
    ),
    (":opt", "optimisation level: 0, 1 or 2"),
    (
        ":preserve_vars_on_panic",
        "keep variables when a cell panics (1, at first) or not (0)",
    ),
    (
        ":quit",
        "end the Rust engine; the next Rust cell starts a fresh one",
    ),
    (
        ":restart",
        "restart the program of the cells: variables are lost, items stay",
    ),
    (":show_deps", "the dependencies so far"),
    (":t", "short for :type"),
    (
        ":time_passes",
        "how long the compiler's passes take (nightly)",
    ),
    (
        ":timing",
        "print how long each cell takes, or stop doing so",
    ),
    (":toolchain", "which toolchain compiles"),
    (":type", "the type of a variable"),
    (":types", "print the types of values, or stop doing so"),
    (":vars", "the variables and their types"),
    (":version", "the engine's version"),
];

/// What a command does.
pub fn describe(name: &str) -> Option<&'static str> {
    COMMANDS
        .iter()
        .find(|(command, _)| *command == name)
        .map(|(_, text)| *text)
}
