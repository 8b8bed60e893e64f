//! Lines that show each magic in use. They stand on its help page, and a test reads every one.

/// Lines for each magic, by its name.
static EXAMPLES: &[(&str, &[&str])] = &[
    ("help", &[":help", ":help registry login"]),
    ("lab", &[":lab"]),
    (
        "lab clean",
        &[":lab clean", ":lab clean --older-than 7d --yes"],
    ),
    (
        "use",
        &[
            ":use sandbox",
            ":use cluster my-context -n kubeflow-user",
            ":use -n another",
        ],
    ),
    ("env", &[":env REGISTRY=registry.example.com", ":env"]),
    ("env set", &[":env set PROJECT_NAME=digits IMAGE_TAG=1.0"]),
    ("env load", &[":env load .env"]),
    ("env ask", &[":env ask REGISTRY_PASSWORD"]),
    ("env list", &[":env list", ":env list --output csv"]),
    ("env unset", &[":env unset IMAGE_TAG"]),
    ("write", &[":write hpt/docker/Dockerfile"]),
    (
        "show",
        &[
            ":show hpt/docker/train.py",
            ":show hpt/Experiment.yaml --lines 40-60",
        ],
    ),
    (
        "download",
        &[":download https://example.com/train.py -o hpt/docker/train.py"],
    ),
    (
        "build",
        &[
            ":build hpt/docker -t hyperparam:1.0",
            ":build hpt/docker -t hyperparam:1.0 --build-arg BASE=python:3.11",
        ],
    ),
    ("images", &[":images", ":images hyperparam --output json"]),
    (
        "run",
        &[
            ":run hyperparam:1.0",
            ":run hyperparam:1.0 python3 train.py --learning_rate 0.02",
        ],
    ),
    (
        "tag",
        &[":tag hyperparam:1.0 $REGISTRY/digits/hyperparam:1.0"],
    ),
    (
        "push",
        &[
            ":push $REGISTRY/digits/hyperparam:1.0",
            ":push hyperparam:1.0 $REGISTRY/digits/hyperparam:1.0",
        ],
    ),
    ("pull", &[":pull $REGISTRY/digits/hyperparam:1.0"]),
    ("rmi", &[":rmi hyperparam:1.0 --yes"]),
    (
        "registry login",
        &[
            ":registry login $REGISTRY --username me",
            ":registry login $REGISTRY --username me --password-from REGISTRY_PASSWORD",
        ],
    ),
    ("registry logout", &[":registry logout $REGISTRY"]),
    ("registry check", &[":registry check $REGISTRY/digits"]),
    ("registry repos", &[":registry repos $REGISTRY"]),
    (
        "registry tags",
        &[":registry tags $REGISTRY/digits/hyperparam"],
    ),
    (
        "registry inspect",
        &[":registry inspect $REGISTRY/digits/hyperparam:1.0"],
    ),
    (
        "get",
        &[
            ":get pods",
            ":get trials -o wide",
            ":get experiment mnist -o yaml",
            ":get kinds",
        ],
    ),
    ("describe", &[":describe pod mnist-abcdefgh-x2x4z"]),
    ("secrets", &[":secrets"]),
    (
        "secret create",
        &[
            ":secret create regcred --from-login $REGISTRY",
            ":secret create keys --from-setting API_KEY",
            ":secret create docker-registry regcred --docker-server $REGISTRY --docker-username me --docker-password $PASSWORD",
        ],
    ),
    ("secret delete", &[":secret delete regcred --yes"]),
    ("jobs", &[":jobs", ":jobs --where status=Failed"]),
    ("pods", &[":pods", ":pods -A -o wide"]),
    (
        "logs",
        &[
            ":logs mnist-abcdefgh --tail 20",
            ":logs mnist-abcdefgh -f",
            ":logs mnist --tail 1",
            ":logs mnist-abcdefgh --deleted",
        ],
    ),
    (
        "events",
        &[":events --limit 10", ":events mnist-abcdefgh --warnings"],
    ),
    ("apply", &[":apply config.yaml", ":apply - --yes"]),
    ("delete", &[":delete job mnist-abcdefgh --yes"]),
    ("experiments", &[":experiments", ":experiments -A"]),
    (
        "experiment render",
        &[":experiment render hpt/Experiment.template.yaml -o hpt/Experiment.yaml"],
    ),
    (
        "experiment lint",
        &[
            ":experiment lint hpt/Experiment.yaml",
            ":experiment lint hpt/Experiment.yaml --fix",
        ],
    ),
    (
        "experiment create",
        &[
            ":experiment create hpt/Experiment.yaml",
            ":experiment create hpt/Experiment.yaml --dry-run",
        ],
    ),
    ("experiment show", &[":experiment show mnist"]),
    ("experiment details", &[":experiment details mnist"]),
    ("experiment watch", &[":experiment watch mnist"]),
    ("experiment wait", &[":experiment wait mnist --timeout 20m"]),
    (
        "experiment edit",
        &[":experiment edit mnist --max-trials 20"],
    ),
    ("experiment delete", &[":experiment delete mnist --yes"]),
    (
        "experiment export",
        &[":experiment export mnist -o exports/mnist"],
    ),
    ("suggestions", &[":suggestions"]),
    (
        "trials",
        &[
            ":trials mnist --sort -accuracy --limit 5",
            ":trials mnist --where 'accuracy > 0.9 and lr < 0.01' --sort status,-accuracy",
            ":trials mnist --save trials.csv",
            ":trials --from exports/mnist",
            ":trials --deleted",
            ":trials mnist --deleted --sort -accuracy",
        ],
    ),
    (
        "trial",
        &[
            ":trial mnist-abcdefgh",
            ":trial mnist-abcdefgh --metrics --metric accuracy",
        ],
    ),
    ("best", &[":best mnist", ":best mnist --arguments"]),
    ("why", &[":why mnist-abcdefgh", ":why mnist"]),
    (
        "metrics test",
        &[
            ":metrics test train.log --metric accuracy",
            ":metrics test mnist-abcdefgh --filter '([\\w|-]+): ([0-9.]+)'",
        ],
    ),
    (
        "tune",
        &[
            ":tune mnist lr=1e-4..0.1:log optimizer=sgd,adam --maximize accuracy --image hyperparam:1.0 --command 'python3 train.py'",
            ":tune mnist-2 --from-best mnist --max-trials 24 --create",
            ":tune mnist-2 --from-best ./exports/mnist --top 10% -o mnist-2.yaml",
        ],
    ),
    (
        "rerun",
        &[
            ":rerun mnist-abcdefgh",
            ":rerun mnist-abcdefgh --container",
            ":rerun best mnist --create",
        ],
    ),
    (
        "plot",
        &[
            ":plot mnist-hyperparameter-tuning",
            ":plot mnist-hyperparameter-tuning parallel --save trials.png",
            ":plot mnist-hyperparameter-tuning contour --params lr,momentum --where 'age < 1d'",
            ":plot --from exports/mnist importance",
        ],
    ),
    (
        "analyze",
        &[
            ":analyze mnist",
            ":analyze mnist importance -o json",
            ":analyze --from exports/mnist best",
        ],
    ),
    (
        "compare",
        &[
            ":compare mnist-random mnist-tpe",
            ":compare mnist ./exports/mnist",
            ":compare team-a/mnist team-b/mnist",
        ],
    ),
];

/// The lines that show a magic in use.
pub fn of(name: &str) -> &'static [&'static str] {
    EXAMPLES
        .iter()
        .find(|(have, _)| *have == name)
        .map_or(&[], |(_, lines)| lines)
}

/// The names of all magics that there are lines for.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().map(|(name, _)| *name)
}
