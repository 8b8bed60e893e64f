fn main() {
    evcxr::runtime_hook();
    let _ = evcxr_jupyter::main();
}
